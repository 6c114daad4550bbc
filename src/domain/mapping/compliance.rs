//! Proof that the evaluator implements JMESPath, by the official cases and by a comparison with the
//! crate's own interpreter on random input; and proof that every evaluation ends.

use jmespath::{Context, DEFAULT_RUNTIME, Rcvar, Variable};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fuel::{Fuel, Stop};
use super::tests::{document, expression};
use super::*;

macro_rules! suites {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../tests/jmespath/", $name, ".json")))),*]
    };
}

const SUITES: [(&str, &str); 15] = suites![
    "basic",
    "boolean",
    "current",
    "escape",
    "filters",
    "functions",
    "identifiers",
    "indices",
    "literal",
    "multiselect",
    "pipe",
    "slice",
    "syntax",
    "unicode",
    "wildcard"
];

fn variable(value: &Value) -> Rcvar {
    Rcvar::new(Variable::try_from(value).unwrap())
}

/// Herald's evaluator, with the fuel of one value.
fn found(ast: &Ast, value: &Rcvar) -> Result<Rcvar, EvaluationError> {
    Pass::default().value(|fuel| search::search(value, ast, fuel))
}

/// The crate's interpreter.
fn expected(ast: &Ast, value: &Rcvar) -> Option<Rcvar> {
    let mut context = Context::new("", &DEFAULT_RUNTIME);
    jmespath::interpret(value, ast, &mut context).ok()
}

#[test]
fn the_official_cases() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for (name, suite) in SUITES {
        let suite: Value = serde_json::from_str(suite).unwrap();
        for group in suite.as_array().unwrap() {
            let given = variable(&group["given"]);
            for case in group["cases"].as_array().unwrap() {
                cases += 1;
                let source = case["expression"].as_str().unwrap();
                let parsed = jmespath::parse(source).ok();
                let checked = parsed.filter(|ast| check::check(source, ast).is_ok());
                let result = checked.map(|ast| found(&ast, &given));
                let good = match (case.get("result"), case.get("error")) {
                    (Some(wanted), _) => matches!(&result, Some(Ok(found))
                        if **found == *variable(wanted)),
                    (None, Some(_)) => {
                        matches!(result, None | Some(Err(EvaluationError::Failed)))
                    }
                    (None, None) => false,
                };
                if !good {
                    wrong.push(format!("{name}: {source}: {result:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(cases, 892);
}

#[test]
fn the_average_of_nothing_is_null() {
    let ast = jmespath::parse("avg(@)").unwrap();
    assert_eq!(*found(&ast, &variable(&json!([]))).unwrap(), Variable::Null);
    assert_eq!(*found(&ast, &variable(&json!([1, 2]))).unwrap(), *variable(&json!(1.5)));
    assert_eq!(found(&ast, &variable(&json!(["a"]))), Err(EvaluationError::Failed));
}

/// Each takes exponential time, exponential memory, or much of both without any literal.
fn attacks() -> Vec<String> {
    let nested = |before: &str, middle: &str, after: &str, depth: usize| {
        format!("{}{middle}{}", before.repeat(depth), after.repeat(depth))
    };
    vec![
        nested("`[0,0]`[?", "`1`", "]", 40),
        nested("map(&", "`1`", ",`[0,0,0,0]`)", 20),
        nested("map(&", "@", ",`[0,0,0,0]`)", 20),
        format!("l|{}", ["[@,@][]"; 31].join("|")),
        format!("l|{}|to_string(@)", ["[@,@]"; 31].join("|")),
        format!("l|{0}|[@==@, contains([{0}], @)]", ["[@,@]"; 14].join("|")),
        format!("l|{}|sort(@)", ["[@,@][]"; 29].join("|")),
        format!("to_string(l)|{}", ["join(@,[@,@])"; 30].join("|")),
        format!("@|{}", ["to_string([@])"; 30].join("|")),
        nested("sort_by(`[0,0,0]`,&length(", "'a'", "))", 20),
        nested("max_by(`[0,0,0]`,&", "`1`", ")", 20),
        format!("l[*].[{}]", vec!["&(a||b||c||d||e)"; 50].join(",")),
        nested("`{\"a\":0,\"b\":0,\"c\":0}`.*.[", "`1`", "]", 12),
        nested("`[0,0,0]`[*].[", "`1`", "]", 18),
    ]
}

#[test]
fn every_attack_ends_within_its_fuel() {
    let many: Vec<String> = (0..2000).map(|n| format!("v{n}")).collect();
    let value = json!({ "l": many });
    for source in attacks() {
        assert!(source.len() <= limits::EXPRESSION_BYTES, "{source}");
        let expression = Expression::load(&source).unwrap();
        let mut pass = Pass::default();
        let result = expression.keys(&value, &mut pass);
        assert_eq!(result, Err(EvaluationError::TooCostly), "{source}");
    }
}

#[test]
fn the_known_attacks_are_refused_when_they_are_set() {
    for source in attacks().iter().filter(|source| !source.contains("l[*].[&")) {
        let error = Expression::compile(source).unwrap_err();
        assert!(error.message.contains("costs too much"), "{source}: {error}");
    }
}

#[test]
fn too_many_values_are_none() {
    let expression = Expression::compile("l").unwrap();
    let list = |count: usize| json!({"l": (0..count * 2).map(|n| n / 2).collect::<Vec<_>>()});
    let keys = |count| expression.keys(&list(count), &mut Pass::default());
    assert_eq!(keys(limits::VALUES).unwrap().len(), limits::VALUES);
    assert_eq!(keys(limits::VALUES + 1), Err(EvaluationError::TooCostly));
}

/// Expressions over all functions, in addition to those of [`expression`], with large lists in
/// them.
fn costly() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => expression(),
        1 => proptest::sample::select(vec![
            "`[0,0,0]`", "`[\"a\",\"b\",\"a\"]`", "`[3,1.0,1,2]`", "`{\"a\":1,\"b\":[2]}`", "'a'",
            "`-1.5`", "`[[1],[2,3]]`", "'[1,[2]]'", "' 7 '", "`[]`", "`{}`",
        ]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 40, 3, |inner| {
        let one = proptest::sample::select(vec![
            "abs",
            "ceil",
            "floor",
            "keys",
            "length",
            "max",
            "min",
            "merge",
            "not_null",
            "reverse",
            "sort",
            "sum",
            "to_array",
            "to_number",
            "to_string",
            "type",
            "values",
        ]);
        let two = proptest::sample::select(vec![
            "contains",
            "ends_with",
            "starts_with",
            "join",
            "merge",
            "not_null",
        ]);
        let by = proptest::sample::select(vec!["sort_by", "max_by", "min_by"]);
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (one, inner.clone()).prop_map(|(name, of)| format!("{name}({of})")),
            (two, pair.clone()).prop_map(|(name, (a, b))| format!("{name}({a}, {b})")),
            (by, pair.clone()).prop_map(|(name, (a, b))| format!("{name}({a}, &({b}))")),
            pair.clone().prop_map(|(a, b)| format!("map(&({a}), {b})")),
            pair.clone().prop_map(|(a, b)| format!("({a})[?{b}]")),
            pair.clone().prop_map(|(a, b)| format!("({a})[*].[{b}, @]")),
            pair.clone().prop_map(|(a, b)| format!("({a}) | {b}")),
            inner.clone().prop_map(|a| format!("({a}) | [@, @][] | [::-2]")),
            inner.clone().prop_map(|a| format!("({a})[-2:]")),
            inner.clone().prop_map(|a| format!("[&({a})]")),
            pair.prop_map(|(a, b)| format!("({a}) == ({b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A result that is not too costly equals that of the crate's interpreter exactly.
    #[test]
    fn the_same_as_the_crate(value in document(), source in costly()) {
        let ast = jmespath::parse(&source).unwrap();
        let value = variable(&value);
        // The crate is not compared on expressions that are too costly.
        let ours = found(&ast, &value);
        if ours != Err(EvaluationError::TooCostly) {
            let text = |value: Rcvar| value.to_string();
            prop_assert_eq!(ours.ok().map(text), expected(&ast, &value).map(text), "{}", source);
        }
    }

    /// Every evaluation ends within its fuel.
    #[test]
    fn it_ends(
        value in document(),
        source in costly(),
        steps in 0..2000_u64,
        bytes in 0..20_000_u64,
    ) {
        let ast = jmespath::parse(&source).unwrap();
        let mut fuel = Fuel::new(steps, bytes, Stop::default());
        let result = search::search(&variable(&value), &ast, &mut fuel);
        prop_assert!(!matches!(result, Err(EvaluationError::Stopped)));
    }

    /// The estimate never refuses an expression that is cheap on a record of ordinary size.
    #[test]
    fn what_an_ordinary_record_allows_may_be_set(value in document(), source in expression()) {
        if let Ok(expression) = Expression::load(&source) {
            let keys = expression.keys(&value, &mut Pass::default());
            let cheap = keys != Err(EvaluationError::TooCostly);
            prop_assert!(!cheap || Expression::compile(&source).is_ok(), "{}", source);
        }
    }
}
