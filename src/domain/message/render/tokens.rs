//! The tags of a template, and the words and signs in them, as minijinja reads them.

/// Names that outrank fields of data.
pub(super) const RESERVED: [&str; 5] = ["data", "event_type", "link", "now", "reader"];

/// The variable in place of `reader.name` where the name is only shown. It is as long, so that
/// places of errors stay.
pub(super) const SHOWN_NAME: &str = "_reader_nm_";

/// The template in which each `{{ reader.name }}` reads [`SHOWN_NAME`].
pub(super) fn shown_when_sent(source: String) -> String {
    let tags = split(&source).0;
    if tags.iter().any(binds_reader) {
        return source;
    }
    let places: Vec<usize> = tags.iter().filter_map(shown_name).collect();
    let mut shown = source;
    for at in places {
        shown.replace_range(at..at + SHOWN_NAME.len(), SHOWN_NAME);
    }
    shown
}

/// Whether this is a `for` with a variable `reader`.
fn binds_reader(tag: &Tag<'_>) -> bool {
    let tokens = tokens(tag.inside);
    let mut words = tokens.iter().map(|token| token.text);
    tag.is_statement
        && words.next() == Some("for")
        && words.take_while(|word| *word != "in").any(|word| word == "reader")
}

/// The place of `reader.name`, if the tag has nothing else.
fn shown_name(tag: &Tag<'_>) -> Option<usize> {
    let name = tag.inside.trim();
    let before = tag.inside.len() - tag.inside.trim_start().len();
    (!tag.is_statement && name == "reader.name").then_some(tag.at + before)
}

/// Marks are control characters, so the author's text must not contain any.
pub(super) fn clean(source: &str) -> String {
    source.chars().filter(|c| is_kept(*c)).collect()
}

fn is_kept(c: char) -> bool {
    !c.is_control() || c == '\n'
}

/// The place in the source of a place in the cleaned source.
pub(super) fn before_cleaning(source: &str, at: usize) -> usize {
    let mut kept = 0;
    let after = source.char_indices().filter(|(_, c)| is_kept(*c)).find(|(_, c)| {
        kept += c.len_utf8();
        kept > at
    });
    after.map_or(source.len(), |(index, _)| index)
}

/// One `{{ … }}` or `{% … %}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// Where `inside` begins in the template.
    pub(super) at: usize,
    /// The expression or the statement, without the signs around it.
    pub(super) inside: &'a str,
    /// `{% … %}`.
    pub(super) is_statement: bool,
}

/// The tags of a template, and its text outside of tags and comments.
pub(super) fn split(source: &str) -> (Vec<Tag<'_>>, String) {
    let (mut tags, mut literal, mut from) = (Vec::new(), String::new(), 0);
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|tag| source[from..].find(tag)).min()
    {
        let (open, inside) = (from + at, from + at + 2);
        literal.push_str(&source[from..open]);
        let close = match &source[open..inside] {
            "{#" => {
                let end = source[inside..].find("#}");
                from = end.map_or(source.len(), |end| inside + end + 2);
                continue;
            }
            "{{" => "}}",
            _ => "%}",
        };
        let end = inside + end(&source[inside..], close);
        tags.push(tag(source, inside, end, close == "%}"));
        from = source.len().min(end + close.len());
    }
    literal.push_str(&source[from..]);
    (tags, literal)
}

/// The tag, without the signs that control white space: `{%+` and `-%}`.
fn tag(source: &str, from: usize, to: usize, is_statement: bool) -> Tag<'_> {
    let inside = &source[from..to];
    let begun = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    let at = from + inside.len() - begun.len();
    let inside = begun.strip_suffix(['-', '+']).unwrap_or(begun);
    Tag { at, inside, is_statement }
}

/// The place of `close`, outside of quoted texts and brackets; the end of the text if there is
/// none.
pub(super) fn end(text: &str, close: &str) -> usize {
    let (mut quote, mut brackets) = (None, 0_usize);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            Some(_) if c == '\\' => drop(chars.next()),
            Some(open) => quote = (c != open).then_some(open),
            None if brackets == 0 && text[at..].starts_with(close) => return at,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if matches!(c, '(' | '[' | '{') => brackets += 1,
            None if matches!(c, ')' | ']' | '}') => brackets = brackets.saturating_sub(1),
            None => {}
        }
    }
    text.len()
}

/// A word, a quoted text or a sign, with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TemplateToken<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
}

/// The tokens of an expression or a statement.
pub(super) fn tokens(source: &str) -> Vec<TemplateToken<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let length = match first {
            '"' | '\'' => quoted(rest, first),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(TemplateToken { at, text: &rest[..length] });
        }
        at += length;
    }
    tokens
}

/// The end of the quoted text at the beginning.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn insides(source: &str) -> Vec<&str> {
        split(source).0.iter().map(|tag| tag.inside).collect()
    }

    #[test]
    fn a_tag_ends_outside_of_texts_and_brackets() {
        for (source, expected) in [
            ("a {{ b }} c", vec![" b "]),
            ("{{ '}}' }}{%- if a +%}", vec![" '}}' ", " if a "]),
            ("{{ {'a': {'b': 1}} }}", vec![" {'a': {'b': 1}} "]),
            ("{# {{ x }} #}{{ y }}", vec![" y "]),
            ("{{ 'it\\'s' }}", vec![" 'it\\'s' "]),
            ("{{ open", vec![" open"]),
            ("{{+ a -}}", vec![" a "]),
        ] {
            assert_eq!(insides(source), expected, "{source}");
        }
        assert_eq!(split("a {{ b }} c{# d #}").1, "a  c");
    }

    #[test]
    fn only_a_name_that_is_shown_is_replaced() {
        for (source, expected) in [
            ("Hi {{ reader.name }}, {{reader.name}}!", "Hi {{ _reader_nm_ }}, {{_reader_nm_}}!"),
            (
                "{%- if reader.name -%}é{{- reader.name -}}",
                "{%- if reader.name -%}é{{- _reader_nm_ -}}",
            ),
        ] {
            assert_eq!(shown_when_sent(source.into()), expected);
        }
        for same in [
            "{{ reader.name | upper }}",
            "{{ reader.names }} {{ reader['name'] }} {{ '{{ reader.name }}' }}",
            "{{ 'x' if reader.name }}{# {{ reader.name }} #}",
            "{% for reader in people %}{{ reader.name }}{% endfor %}",
        ] {
            assert_eq!(shown_when_sent(same.into()), same);
        }
    }

    #[test]
    fn cleaning_keeps_places() {
        let source = "a\t\u{1}é\nb";
        assert_eq!(clean(source), "aé\nb");
        let places: Vec<usize> = [0, 1, 3, 4, 5].map(|at| before_cleaning(source, at)).into();
        assert_eq!(places, [0, 3, 5, 6, 7]);
    }

    #[test]
    fn tokens_have_their_places() {
        let texts: Vec<&str> = tokens("a.b | f(one='x y') ").iter().map(|it| it.text).collect();
        assert_eq!(texts, ["a", ".", "b", "|", "f", "(", "one", "=", "'x y'", ")"]);
        assert_eq!(tokens(" é a")[1], TemplateToken { at: 4, text: "a" });
    }

    proptest! {
        #[test]
        fn every_place_is_in_the_source(source in "[a{}%#'\"()\\[\\]\\\\ é+-]{0,40}") {
            for tag in split(&source).0 {
                prop_assert!(source[tag.at..].starts_with(tag.inside));
                for token in tokens(tag.inside) {
                    prop_assert!(tag.inside[token.at..].starts_with(token.text));
                }
            }
        }
    }
}
