use proptest::prelude::*;
use serde_json::json;

use super::*;

fn keys(source: &str, value: &Value) -> Vec<String> {
    texts(&Expression::compile(source).unwrap().keys(value, &mut Pass::default()).unwrap())
}

fn refused(source: &str) -> ExpressionError {
    Expression::compile(source).unwrap_err()
}

fn texts(keys: &[MatchKey]) -> Vec<String> {
    keys.iter().map(|key| key.as_str().to_owned()).collect()
}

/// The result of jmespath itself, on the whole value.
fn by_jmespath(source: &str, value: &Value) -> Option<Vec<String>> {
    let found = jmespath::compile(source).unwrap().search(value).ok()?;
    let mut texts: Vec<String> = Vec::new();
    path::tell_variable(&found, &mut |event| {
        if let PathEvent::Text(text) = event
            && !texts.iter().any(|known| known == text)
        {
            texts.push(text.to_owned());
        }
    });
    Some(texts)
}

#[test]
fn values_become_keys() {
    let value = json!({
        "text": " A b ", "mail": " Ada@X.org", "blank": "\t", "null": null,
        "yes": true, "no": false, "int": 42, "double": 42.0, "fraction": 0.5,
        "huge": 9_007_199_254_740_993_u64, "object": {"a": "b"},
        "list": ["x", " x ", 42, "42", null, "", true, {"a": 1}, ["nested"], "y"],
        "empty": [], "odd key": "k",
    });
    assert_eq!(keys("text", &value), ["A b"]);
    assert_eq!(keys("mail", &value), ["ada@x.org"]);
    assert_eq!(keys("int", &value), keys("double", &value));
    assert_eq!(keys("list", &value), ["x", "42", "y"]);
    assert_eq!(keys("list[?@ == 'y']", &value), ["y"]);
    assert_eq!(keys("\"odd key\"", &value), ["k"]);
    assert_eq!(keys("object.a", &value), ["b"]);
    for source in ["blank", "null", "yes", "no", "fraction", "huge", "object", "empty", "missing"] {
        assert!(keys(source, &value).is_empty(), "{source}");
        assert!(keys(&format!("{source} || {source}"), &value).is_empty(), "{source}");
        assert!(
            keys(&format!("{source}.x.y"), &value).is_empty() || source == "object",
            "{source}"
        );
    }
}

#[test]
fn the_worked_example() {
    let member =
        json!({"id": "U1", "profile": {"fields": {"XF12345": {"value": "E-007", "alt": ""}}}});
    let mapping = Mapping::compile("employee_id", "profile.fields.XF12345.value").unwrap();
    let person = json!({"user_id": "u", "employee_id": "E-007"});
    assert_eq!(
        mapping.user.keys(&person, &mut Pass::default()),
        mapping.slack.keys(&member, &mut Pass::default())
    );
    assert!(mapping.slack.reads_profile_fields());
    assert!(
        !mapping
            .user
            .keys(&json!({"employee_id": "e-007"}), &mut Pass::default())
            .unwrap()
            .is_empty()
    );
    assert_ne!(
        mapping.user.keys(&json!({"employee_id": "e-007"}), &mut Pass::default()),
        mapping.slack.keys(&member, &mut Pass::default())
    );
}

#[test]
fn an_error_on_one_value_is_no_value() {
    let expression = Expression::compile("length(title)").unwrap();
    assert_eq!(
        expression.keys(&json!({"title": null}), &mut Pass::default()),
        Err(EvaluationError::Failed)
    );
    assert_eq!(expression.keys(&json!({"title": "abc"}), &mut Pass::default()).unwrap().len(), 1);
}

#[test]
fn faults_have_their_place() {
    assert_eq!(refused("").position, 0);
    assert_eq!(refused("  ").position, 0);
    assert_eq!(refused("a.b.").position, 4);
    assert_eq!(refused("a ~ b").position, 2);
    assert_eq!(refused("\"é\" = b").position, 5);
    assert_eq!(refused("a || lower(b)").position, 5);
    assert_eq!(refused("length(a, b)").position, 0);
    assert_eq!(refused("a || 'unclosed").position, 5);
    let error = Mapping::compile("email", "profile.").unwrap_err();
    assert_eq!((error.field, error.error.position), ("slack_attribute", 8));
    assert_eq!(Mapping::compile("(", "(").unwrap_err().field, "user_attribute");
}

#[test]
fn length_is_limited() {
    assert!(Expression::compile(&"a".repeat(1024)).is_ok());
    assert_eq!(refused(&"a".repeat(1025)).position, 1024);
}

/// Every nesting shape, as deep as the limit allows, is parsed, checked, searched and dropped on
/// the default stack of a thread; deeper ones are refused.
#[test]
fn nothing_overflows_the_stack() {
    let shapes = [
        ("(", "a", ")"),
        ("[", "a", "]"),
        ("{a:", "a", "}"),
        ("!", "a", ""),
        ("& ", "a", ""),
        ("a.", "a", ""),
        ("@|", "a", ""),
        ("b||", "a", ""),
        ("a&&", "a", ""),
        ("a==", "a", ""),
        ("a!=", "a", ""),
        ("a<", "a", ""),
        ("to_array(", "a", ")"),
        ("a[?", "a", "]"),
        ("a[*].", "a", ""),
        ("*.", "a", ""),
        ("a[].", "a", ""),
        ("a[0].", "a", ""),
        ("", "a", "[0]"),
        ("", "a", "[]"),
        ("", "a", "[?b]"),
        ("", "a", "[:1]"),
        ("", "a", ".*"),
        ("", "a", ".{b:c}"),
        ("a.[", "a", "]"),
        ("b||&", "a", ""),
        ("[b,", "a", "]"),
        ("`[1]`|", "a", ""),
        ("map(&", "a", ",a)"),
        ("a[?!(", "a", ")]"),
    ];
    let mut nested = json!("x");
    for _ in 0..100 {
        nested = json!({"a": [nested]});
    }
    let mut cases = 0;
    for (before, middle, after) in shapes {
        for depth in (1..1000).rev() {
            let source = format!("{}{middle}{}", before.repeat(depth), after.repeat(depth));
            if let Ok(expression) = Expression::compile(&source) {
                let _ = expression.keys(&nested, &mut Pass::default());
                let _ = expression.keys(&json!({"a": "x"}), &mut Pass::default());
                cases += 1;
                break;
            }
        }
    }
    assert_eq!(cases, shapes.len());
    for depth in [64, 127, 128, 300] {
        assert!(
            Expression::compile(&format!("`{}{}`", "[".repeat(depth), "]".repeat(depth))).is_ok()
                == (depth == 64)
        );
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-50..50_i32).prop_map(|n| json!(f64::from(n))),
        "[ aA1@.]{0,4}".prop_map(Value::from),
    ]
}

pub(super) fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Valid expressions with every kind of node.
pub(super) fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => "[abc]",
        1 => proptest::sample::select(vec![
            "@", "'x'", "`[1]`", "`null`", "`\"1\"`", "*", "[0]", "[]", "[*]", "[1:]",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let step = proptest::sample::select(vec![
            ".a",
            ".b",
            "[0]",
            "[-1]",
            "[]",
            "[*].a",
            "[*].b",
            ".*",
            "[::-1]",
            ".*.a",
            "[?a].b",
            ".[a, b]",
            ".{a: b}.a",
            ".[`1`]",
        ]);
        let operator =
            proptest::sample::select(vec![" | ", " || ", " && ", " == ", " != ", " < ", ", "]);
        let call = proptest::sample::select(vec![
            "keys",
            "values",
            "not_null",
            "to_string",
            "to_array",
            "type",
            "length",
            "merge",
            "reverse",
            "max",
            "!",
        ]);
        prop_oneof![
            (inner.clone(), step).prop_map(|(of, step)| format!("{of}{step}")),
            (two.clone(), operator).prop_map(|((a, b), operator)| match operator {
                ", " => format!("[{a}, {b}]"),
                _ => format!("({a}){operator}({b})"),
            }),
            (call, inner.clone()).prop_map(|(name, of)| format!("{name}({of})")),
            two.clone().prop_map(|(a, b)| format!("({a})[?{b}]")),
            two.clone().prop_map(|(a, b)| format!("map(&({a}), to_array({b}))")),
            two.clone().prop_map(|(a, b)| format!("{a} | {b}")),
            two.prop_map(|(a, b)| format!("{{a: {a}, b: {b}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_path_finds_what_jmespath_finds(
        value in document(),
        path in proptest::collection::vec(
            prop_oneof!["[abc]", "\"[abc]\"", Just("@".to_owned())],
            1..5,
        ),
    ) {
        let source = path.join(" | ");
        let dotted: Vec<_> = path.iter().filter(|step| *step != "@").cloned().collect();
        for source in [source, dotted.join(".")] {
            if source.is_empty() { continue; }
            let expression = Expression::compile(&source).unwrap();
            prop_assert!(matches!(expression.0.plan, Plan::Path(_)));
            prop_assert_eq!(Some(keys(&source, &value)), by_jmespath(&source, &value));
        }
    }

    #[test]
    fn the_needed_part_is_enough(value in document(), source in expression()) {
        if let Ok(expression) = Expression::compile(&source) {
            let texts = expression.keys(&value, &mut Pass::default()).ok().map(|keys| texts(&keys));
            prop_assert_eq!(texts, by_jmespath(&source, &value));
        }
    }

    #[test]
    fn bytes_and_values_give_the_same(value in document(), pick in 0..6_usize) {
        let sources = ["a", "a.b", "@", "a || b", "values(@)", "*.a"];
        let expression = Expression::compile(sources[pick]).unwrap();
        let bytes = serde_json::to_vec(&value).unwrap();
        let mut texts = Vec::new();
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let read = expression.read(&mut json, &mut Pass::default(), &mut |event| {
            if let PathEvent::Text(text) = event { texts.push(text.to_owned()); }
        });
        texts.dedup();
        let parsed: Value = serde_json::from_slice(&bytes).unwrap();
        let keys = expression.keys(&parsed, &mut Pass::default());
        prop_assert_eq!(read.is_ok(), keys.is_ok());
        for key in keys.unwrap_or_default() {
            prop_assert!(texts.iter().any(|text| text == key.as_str()));
        }
    }

    #[test]
    fn no_text_breaks_the_compiler(source in "\\PC{0,80}") {
        let _ = Expression::compile(&source);
    }

    #[test]
    fn no_row_of_tokens_breaks_the_compiler(
        parts in proptest::collection::vec(0..30_usize, 0..400),
    ) {
        const PARTS: [&str; 30] = [
            "a", ".", "[*]", "[]", "[?", "]", "(", ")", "||", "|", "&&", "==", "!", "&", "*",
            "[0]", "[1:]", "f(", ",", "{a:", "}", "`[1]`", "[", "`[", "]`", "'", "\"", "\\", " ",
            "@",
        ];
        let source: String = parts.iter().map(|part| PARTS[*part]).collect();
        if let Ok(expression) = Expression::compile(&source) {
            let _ = expression.keys(&json!({"a": [{"a": "x"}, "y"]}), &mut Pass::default());
        }
    }

    #[test]
    fn nothing_never_matches(
        path in "[abc]",
        nothing in proptest::sample::select(vec![
            json!(null), json!(""), json!(" "), json!([]), json!({}), json!([null, ""]),
            json!(true), json!(false),
        ]),
    ) {
        let document = json!({ path.as_str(): nothing });
        prop_assert!(keys(&path, &document).is_empty());
        let several = format!("[{path}, {path}]");
        prop_assert!(keys(&several, &document).is_empty());
    }
}
