//! The names that a template reads, with their places: variables, filters, tests and functions.
//!
//! minijinja reports an unknown name only if a message reaches it; this reads every branch of a
//! template. It is meant for templates that minijinja has accepted; of others it returns the names
//! that it finds.

use super::tokens::{RESERVED, Tag, TemplateToken, clean, split, tokens};

/// A name that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub kind: NameKind,
    /// The parts of a variable (`task`, `name`); one part for the other kinds.
    pub path: Vec<String>,
    /// Its place in the template without control characters, in bytes.
    pub(super) at: usize,
}

/// The use of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    Variable,
    Filter,
    Test,
    Function,
}

/// Words of the language.
const KEYWORDS: [&str; 13] = [
    "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None",
];

/// The names of a template's string.
pub(super) fn of_template(source: &str) -> Vec<Name> {
    let source = clean(source);
    let mut reader = Names::default();
    for tag in split(&source).0 {
        reader.tag(tag);
    }
    reader.found
}

/// The names of an expression: that of an `if` of a block.
pub(super) fn of_expression(source: &str) -> Vec<Name> {
    let mut reader = Names::default();
    reader.expression(&tokens(&clean(source)), 0);
    reader.found
}

impl Name {
    /// The field of the data that this is, its parts joined by dots; `None` for the other names,
    /// and for the data as a whole.
    #[must_use]
    pub fn field(&self) -> Option<String> {
        if self.kind != NameKind::Variable {
            return None;
        }
        match self.path.split_first()? {
            (first, rest) if first == "data" => (!rest.is_empty()).then(|| rest.join(".")),
            (first, _) if RESERVED.contains(&first.as_str()) => None,
            _ => Some(self.path.join(".")),
        }
    }

    /// Whether this is the data as a whole.
    pub(in crate::domain::message) fn is_data(&self) -> bool {
        self.kind == NameKind::Variable && self.path == ["data"]
    }

    /// Whether messages with this name depend on more of the reader than the zone and the
    /// language of the message.
    pub(super) fn is_personal(&self) -> bool {
        let parts: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let impersonal = matches!(parts[..], ["reader", "time_zone" | "language", ..]);
        self.kind == NameKind::Variable && parts.first() == Some(&"reader") && !impersonal
    }
}

#[derive(Default)]
struct Names {
    /// The names that each open statement gives: the variables of a `for`.
    scopes: Vec<Vec<String>>,
    found: Vec<Name>,
}

impl Names {
    fn tag(&mut self, tag: Tag<'_>) {
        let tokens = tokens(tag.inside);
        let Some((head, rest)) = tokens.split_first().filter(|_| tag.is_statement) else {
            self.expression(&tokens, tag.at);
            return;
        };
        match head.text {
            "for" => self.open_for(rest, tag.at),
            "if" => {
                self.expression(rest, tag.at);
                self.scopes.push(Vec::new());
            }
            "elif" => self.expression(rest, tag.at),
            "endif" | "endfor" => drop(self.scopes.pop()),
            // The variables of a `for` are not known in its `else`.
            "else" => self.scopes.last_mut().into_iter().for_each(Vec::clear),
            _ => {}
        }
    }

    /// `for a, b in items if condition`.
    fn open_for(&mut self, tokens: &[TemplateToken<'_>], at: usize) {
        let split = tokens.iter().position(|token| token.text == "in").unwrap_or(tokens.len());
        let (targets, rest) = tokens.split_at(split);
        let rest = rest.get(1..).unwrap_or_default();
        let condition = condition(rest).unwrap_or(rest.len());
        self.expression(&rest[..condition], at);
        let targets = targets.iter().filter(|token| is_name(token.text));
        let names = targets.map(|token| token.text).chain(["loop"]).map(str::to_owned);
        self.scopes.push(names.collect());
        self.expression(&rest[condition..], at);
    }

    /// The names of an expression that begins at `start`.
    fn expression(&mut self, tokens: &[TemplateToken<'_>], start: usize) {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let before = |by: usize| at.checked_sub(by).map_or("", text);
            let named =
                (text(at + 1) == "=" && text(at + 2) != "=") && matches!(before(1), "(" | ",");
            let place = start + token.at;
            let is_test = before(1) == "is" || (before(1) == "not" && before(2) == "is");
            let mut next = at + 1;
            if !is_name(token.text) || before(1) == "." || named {
                // No name, an attribute, or the name of an argument.
            } else if before(1) == "|" {
                next = self.simple(NameKind::Filter, tokens, at, place);
            } else if is_test && token.text != "not" {
                next = self.simple(NameKind::Test, tokens, at, place);
            } else if !KEYWORDS.contains(&token.text) {
                next = self.variable(tokens, at, place);
            }
            at = next;
        }
    }

    /// A filter or a test; returns the place of the token after it. A name may have dots.
    fn simple(
        &mut self,
        kind: NameKind,
        tokens: &[TemplateToken<'_>],
        at: usize,
        place: usize,
    ) -> usize {
        let (path, next) = path(tokens, at, false);
        self.found.push(Name { kind, path: vec![path.join(".")], at: place });
        next
    }

    /// A variable or a function; returns the place of the token after it.
    fn variable(&mut self, tokens: &[TemplateToken<'_>], at: usize, place: usize) -> usize {
        let (mut path, next) = path(tokens, at, true);
        let given = self.scopes.iter().flatten().any(|name| *name == path[0]);
        if given {
            return next;
        }
        let mut kind = NameKind::Variable;
        if tokens.get(next).is_some_and(|token| token.text == "(") {
            kind = NameKind::Function;
            path = vec![path.join(".")];
        }
        self.found.push(Name { kind, path, at: place });
        next
    }
}

/// The parts of the name that begins here, and the place of the token after it. `items`: `['a']`
/// counts as `.a`.
fn path(tokens: &[TemplateToken<'_>], at: usize, items: bool) -> (Vec<String>, usize) {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let (mut path, mut next) = (vec![text(at).to_owned()], at + 1);
    loop {
        let (part, length) = match text(next) {
            "." => (Some(text(next + 1)).filter(|part| !part.is_empty()), 2),
            "[" if items && text(next + 2) == "]" => (literal(text(next + 1)), 3),
            _ => (None, 0),
        };
        let Some(part) = part else { return (path, next) };
        path.push(part.to_owned());
        next += length;
    }
}

/// A quoted text without escapes.
fn literal(token: &str) -> Option<&str> {
    let inside =
        ['"', '\''].iter().find_map(|quote| token.strip_prefix(*quote)?.strip_suffix(*quote))?;
    (!inside.contains('\\')).then_some(inside)
}

/// The place of the `if` that ends the list of a `for`.
fn condition(tokens: &[TemplateToken<'_>]) -> Option<usize> {
    let mut open = 0_usize;
    tokens.iter().position(|token| {
        match token.text {
            "(" | "[" | "{" => open += 1,
            ")" | "]" | "}" => open = open.saturating_sub(1),
            _ => {}
        }
        open == 0 && token.text == "if"
    })
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The names, as `kind path`.
    fn shown(names: &[Name]) -> Vec<String> {
        let shown = |name: &Name| {
            let kind = match name.kind {
                NameKind::Variable => "",
                NameKind::Filter => "|",
                NameKind::Test => "is ",
                NameKind::Function => "()",
            };
            format!("{kind}{}", name.path.join("."))
        };
        names.iter().map(shown).collect()
    }

    #[test]
    fn every_kind_of_name_is_found() {
        for (source, expected) in [
            ("{{ task.name }}", vec!["task.name"]),
            ("{{ data['task'][\"name\"].x }}", vec!["data.task.name.x"]),
            ("{{ a[b.c].d }} {{ (e).f }}", vec!["a", "b.c", "e"]),
            ("{{ a[1:b] }}", vec!["a", "b"]),
            ("{{ n | plural(one='x', other=y) }}", vec!["n", "|plural", "y"]),
            ("{{ f(a == b, c) }}", vec!["()f", "a", "b", "c"]),
            ("{{ a.items() }}", vec!["()a.items"]),
            ("{{ a is not blank and not b is defined }}", vec!["a", "is blank", "b", "is defined"]),
            ("{{ x if y else 'z' }} {{ 1.5 }} {{ none }}", vec!["x", "y"]),
            ("{{ {'k': v} }} {{ [a, -b] }}", vec!["v", "a", "b"]),
            ("{# {{ no }} #} text no {{ yes }}", vec!["yes"]),
        ] {
            assert_eq!(shown(&of_template(source)), expected, "{source}");
        }
        assert_eq!(shown(&of_expression("a.b is blank or c > 2")), ["a.b", "is blank", "c"]);
    }

    #[test]
    fn a_loop_gives_names_to_its_body_only() {
        let body = "{% for a, b in c if a and d %}{{ a.x }}{{ b }}{{ loop.cycle(e) }}\
                    {% else %}{{ a }}{% endfor %}{{ b }}";
        assert_eq!(shown(&of_template(body)), ["c", "d", "e", "a", "b"]);
        let nested = "{% for p in (x if y else p) %}{% if p %}{{ p }}{% else %}{{ p }}{% endif %}\
                      {% endfor %}";
        assert_eq!(shown(&of_template(nested)), ["x", "y", "p"]);
    }

    #[test]
    fn places_count_without_control_characters() {
        let names = of_template("é\u{1}\n{{ a | b }}");
        assert_eq!(names.iter().map(|name| name.at).collect::<Vec<_>>(), [6, 10]);
    }

    #[test]
    fn the_field_is_that_of_the_data() {
        let fields = |source: &str| -> Vec<String> {
            of_template(source).iter().filter_map(Name::field).collect()
        };
        assert_eq!(fields("{{ a.b | f }}{{ data.c.d }}{{ data }}{{ link.url }}"), ["a.b", "c.d"]);
    }

    #[test]
    fn a_template_is_personal_by_the_readers_name_only() {
        let personal = |source: &str| of_template(source).iter().any(Name::is_personal);
        for source in ["{{ reader.name }}", "{{ reader['locale'] }}", "{{ reader | length }}"] {
            assert!(personal(source), "{source}");
        }
        for source in ["reader", "{{ data.reader }}", "{{ reader.time_zone }}", "{{ 'reader' }}"] {
            assert!(!personal(source), "{source}");
        }
    }

    proptest! {
        /// Whatever minijinja takes for a variable is found here too.
        #[test]
        fn no_variable_is_missed(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b.c", "d['e']", " | upper", " | join(f)", " if g", " else ", "[h]",
                    "(i)", " is blank", " and ", " not ", ", ", "{{ ", " }}", "{% if ", " %}",
                    "{% endif %}", "{% for a in ", "{% endfor %}", "{% else %}", "'x'", "1",
                    " == ", "[1:j]",
                ]),
                0..14,
            ),
        ) {
            let source = parts.concat();
            let environment = minijinja::Environment::empty();
            if let Ok(template) = environment.template_from_str(&source) {
                let names = of_template(&source);
                let found = |name: &String| {
                    let first = name.split('.').next().unwrap_or_default();
                    let heads = |it: &Name| {
                        it.path[0] == first || it.path[0].starts_with(&format!("{first}."))
                    };
                    names.iter().any(heads)
                };
                // minijinja takes a word of the language for a variable where no other may stand.
                let words = |name: &String| KEYWORDS.contains(&name.as_str());
                let variables = template.undeclared_variables(true);
                for name in variables.into_iter().filter(|name| !words(name)) {
                    prop_assert!(found(&name), "{} in {}", name, source);
                }
            }
        }
    }
}
