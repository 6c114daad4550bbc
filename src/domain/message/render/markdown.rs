//! Markdown that a template's author writes, as mrkdwn.
//!
//! The source is a template: its placeholders are taken out before Markdown is read, and put back
//! into the mrkdwn. So data is never read as Markdown, and is escaped as in any other template. The
//! author's own `<`, `>` and `&` are text: markup comes from Markdown and from filters only.
//!
//! A line that has only statements (`{% endif %}`) adds no line to the message. The information
//! after an opening fence is dropped, with any placeholder in it.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{escape, tokens};

/// The first of the characters that stand for placeholders: for private use, so in no text.
const FIRST: u32 = 0xF_0000;
/// Slack reads a mark only at the border of a word; this makes one.
const BORDER: char = '\u{200B}';

/// The mrkdwn template of a template in Markdown.
pub(super) fn mrkdwn(source: &str) -> String {
    let Tags { text, tags } = Tags::of(source);
    let (mut out, mut segment, mut fenced) = (String::new(), String::new(), false);
    for line in text.lines() {
        fenced ^= ["```", "~~~"].iter().any(|fence| line.trim_start().starts_with(fence));
        if !fenced && is_statement(line, &tags) {
            out.push_str(&written(&segment, &tags, true));
            segment.clear();
            out.push_str(line.trim());
        } else {
            segment.push_str(line);
            segment.push('\n');
        }
    }
    out.push_str(&written(&segment, &tags, false));
    restored(out.trim_end(), &tags)
}

/// The mrkdwn template of a template in plain text.
pub(super) fn literal(source: &str) -> String {
    let Tags { text, tags } = Tags::of(source);
    restored(&escape::mrkdwn(&text), &tags)
}

/// The expression of a source that is nothing but one placeholder.
pub(super) fn only_expression(source: &str) -> Option<String> {
    let Tags { text, tags } = Tags::of(source.trim());
    match &tags[..] {
        [tag] if text.chars().count() == 1 => expression(tag).map(str::to_owned),
        _ => None,
    }
}

/// A source whose tags are single characters.
struct Tags {
    text: String,
    /// `{{ … }}` and `{% … %}`, in their order.
    tags: Vec<String>,
}

impl Tags {
    fn of(source: &str) -> Self {
        let source: String = source.chars().filter(|c| !is_mark(*c)).collect();
        let (mut text, mut tags) = (String::with_capacity(source.len()), Vec::new());
        let mut rest = source.as_str();
        while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|tag| rest.find(tag)).min() {
            text.push_str(&rest[..at]);
            let (tag, after) = rest[at..].split_at(end(&rest[at..]));
            if !tag.starts_with("{#") {
                text.extend(mark(tags.len()));
                tags.push(tag.to_owned());
            }
            rest = after;
        }
        text.push_str(rest);
        Self { text, tags }
    }
}

fn mark(index: usize) -> Option<char> {
    char::from_u32(FIRST + u32::try_from(index).ok()?)
}

fn is_mark(c: char) -> bool {
    u32::from(c) >= FIRST
}

fn tag_of(c: char, tags: &[String]) -> Option<&str> {
    let index = usize::try_from(u32::from(c).checked_sub(FIRST)?).ok()?;
    tags.get(index).map(String::as_str)
}

fn restored(text: &str, tags: &[String]) -> String {
    let mut whole = String::with_capacity(text.len());
    for c in text.chars() {
        match tag_of(c, tags) {
            Some(tag) => whole.push_str(tag),
            None => whole.push(c),
        }
    }
    whole
}

/// The end of the tag that begins here; the end of the text if the tag has none.
fn end(text: &str) -> usize {
    let close = match text.get(..2) {
        Some("{{") => "}}",
        Some("{%") => "%}",
        _ => return text.find("#}").map_or(text.len(), |at| at + 2),
    };
    text.len().min(2 + tokens::end(&text[2..], close) + close.len())
}

/// The expression of `{{ … }}`; `None` for a statement.
fn expression(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{{")?.strip_suffix("}}")?;
    let inside = inside.strip_prefix('-').unwrap_or(inside);
    Some(inside.strip_suffix('-').unwrap_or(inside).trim())
}

fn is_statement(line: &str, tags: &[String]) -> bool {
    let mut found = line.chars().filter(|c| !c.is_whitespace()).peekable();
    let statement = |c| tag_of(c, tags).is_some_and(|tag| tag.starts_with("{%"));
    found.peek().is_some() && found.all(statement)
}

/// The lines between two statements; `more`: a statement follows.
fn written(segment: &str, tags: &[String], more: bool) -> String {
    let mut writer = Writer { tags, ..Writer::default() };
    writer.open();
    for event in Parser::new_ext(segment, Options::ENABLE_STRIKETHROUGH) {
        writer.event(event);
    }
    let text = writer.close();
    if text.is_empty() {
        return text;
    }
    let before = if segment.starts_with('\n') { "\n" } else { "" };
    let after = if !more {
        ""
    } else if segment.ends_with("\n\n") {
        "\n\n"
    } else {
        "\n"
    };
    format!("{before}{text}{after}")
}

#[derive(Default)]
struct Writer<'a> {
    tags: &'a [String],
    /// The text of each open block; the last is being written.
    open: Vec<String>,
    /// The next number of each open list; `None` if it has none.
    lists: Vec<Option<u64>>,
    /// The target of the open link.
    link: Option<String>,
    heading: bool,
    /// The last character ended a mark.
    ended: bool,
}

impl Writer<'_> {
    fn open(&mut self) {
        self.open.push(String::new());
    }

    fn close(&mut self) -> String {
        self.ended = false;
        self.open.pop().unwrap_or_default().trim_end().to_owned()
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(code) if self.link.is_some() => self.text(&code),
            Event::Code(code) => {
                self.mark('`', true);
                self.text(&code);
                self.mark('`', false);
            }
            Event::SoftBreak | Event::HardBreak => self.push("\n"),
            Event::Rule => self.block("———", "\n\n"),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Strong if !self.heading => self.mark('*', true),
            Tag::Emphasis => self.mark('_', true),
            Tag::Strikethrough => self.mark('~', true),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } if self.link.is_none() => {
                self.link = Some(dest_url.into_string());
                self.open();
            }
            Tag::List(first) => {
                self.lists.push(first);
                self.open();
            }
            Tag::Heading { .. } => {
                self.heading = true;
                self.open();
            }
            Tag::Paragraph
            | Tag::BlockQuote(_)
            | Tag::CodeBlock(_)
            | Tag::HtmlBlock
            | Tag::Item => {
                self.open();
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong if !self.heading => self.mark('*', false),
            TagEnd::Emphasis => self.mark('_', false),
            TagEnd::Strikethrough => self.mark('~', false),
            TagEnd::Link | TagEnd::Image => {
                if let Some(target) = self.link.take() {
                    let label = self.close();
                    let link = self.linked(&target, &label);
                    self.push(&link);
                }
            }
            TagEnd::Paragraph | TagEnd::HtmlBlock => {
                let text = self.close();
                self.block(&text, "\n\n");
            }
            TagEnd::Heading(_) => {
                self.heading = false;
                let text = format!("*{}*", self.close());
                self.block(&text, "\n\n");
            }
            TagEnd::BlockQuote(_) => {
                let lines = self.close();
                let quoted: Vec<String> = lines.lines().map(|line| format!("> {line}")).collect();
                self.block(&quoted.join("\n"), "\n\n");
            }
            TagEnd::CodeBlock => {
                let text = format!("```\n{}\n```", self.close());
                self.block(&text, "\n\n");
            }
            TagEnd::Item => {
                let text = self.close().replace('\n', "\n    ");
                let deep = self.lists.len() > 1;
                let sign = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}.", *number - 1)
                    }
                    _ if deep => "◦".to_owned(),
                    _ => "•".to_owned(),
                };
                self.block(&format!("{sign} {text}"), "\n");
            }
            TagEnd::List(_) => {
                self.lists.pop();
                let items = self.close();
                self.block(&items, "\n");
            }
            _ => {}
        }
    }

    /// Adds a finished block after what is there; items are close together.
    fn block(&mut self, text: &str, gap: &str) {
        let gap = if self.lists.is_empty() { gap } else { "\n" };
        if let Some(open) = self.open.last_mut() {
            if !open.is_empty() {
                open.push_str(gap);
            }
            open.push_str(text);
        }
    }

    fn text(&mut self, text: &str) {
        let text = if self.link.is_some() { text.to_owned() } else { escape::mrkdwn(text) };
        self.push(&text);
    }

    fn push(&mut self, text: &str) {
        let ended = std::mem::take(&mut self.ended);
        if let Some(open) = self.open.last_mut() {
            if ended && text.starts_with(is_word) {
                open.push(BORDER);
            }
            open.push_str(text);
        }
    }

    /// The beginning or the end of bold text and the like; a link's label has none.
    fn mark(&mut self, mark: char, begins: bool) {
        if self.link.is_some() {
            return;
        }
        let Some(open) = self.open.last_mut() else { return };
        if begins && open.ends_with(is_word) {
            open.push(BORDER);
        }
        open.push(mark);
        self.ended = !begins;
    }

    /// A link whose target and label may have placeholders; only its label if it leads nowhere, or
    /// if there are statements in it.
    fn linked(&self, target: &str, label: &str) -> String {
        let label = escape::one_line(label);
        if !target.contains(is_mark) && !label.contains(is_mark) {
            let label = if label.is_empty() { target } else { &label };
            let shown = escape::mrkdwn(&label.replace('|', "¦"));
            return match escape::url(target) {
                Ok(url) => format!("<{}|{shown}>", escape::mrkdwn(&url)),
                Err(_) => shown,
            };
        }
        match (self.sum(target), self.sum(&label)) {
            (Some(target), Some(label)) if label.is_empty() => {
                format!("{{{{ ({target}) | link }}}}")
            }
            (Some(target), Some(label)) => format!("{{{{ ({target}) | link({label}) }}}}"),
            _ => escape::mrkdwn(&label),
        }
    }

    /// The text as an expression: `['https://x.test/', (id)] | join('')`; `None` if it has
    /// statements.
    fn sum(&self, text: &str) -> Option<String> {
        let mut parts = Vec::new();
        for piece in text.split_inclusive(is_mark) {
            let tag = piece.chars().next_back().filter(|c| is_mark(*c));
            let literal = piece.trim_end_matches(is_mark);
            if !literal.is_empty() {
                let quoted = literal.replace('\\', "\\\\").replace('\'', "\\'");
                parts.push(format!("'{quoted}'"));
            }
            if let Some(tag) = tag {
                let expression = tag_of(tag, self.tags).and_then(expression)?;
                parts.push(format!("({expression})"));
            }
        }
        match &parts[..] {
            [] | [_] => Some(parts.concat()),
            _ => Some(format!("[{}] | join('')", parts.join(", "))),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || is_mark(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_becomes_mrkdwn() {
        for (markdown, expected) in [
            (
                "**bold** and *italic* or _italic_, ~~gone~~",
                "*bold* and _italic_ or _italic_, ~gone~",
            ),
            ("***both***", "_*both*_"),
            ("a `code` b", "a `code` b"),
            ("```rust\nlet a = 1 < 2;\n```", "```\nlet a = 1 &lt; 2;\n```"),
            ("# Title\n\ntext", "*Title*\n\ntext"),
            ("# A **bold** title", "*A bold title*"),
            ("Do:\n- a\n- b\n\x20 - c\n\nEnd", "Do:\n• a\n• b\n\x20\x20\x20 ◦ c\n\nEnd"),
            ("1. a\n2. b", "1. a\n2. b"),
            ("3. a\n\n4. b", "3. a\n4. b"),
            ("> quoted\n> lines\n\nnot", "> quoted\n> lines\n\nnot"),
            ("one\ntwo  \nthree", "one\ntwo\nthree"),
            ("[site](https://x.test/?a=1&b=2)", "<https://x.test/?a=1&amp;b=2|site>"),
            ("![chart](https://x.test/c.png)", "<https://x.test/c.png|chart>"),
            ("<https://x.test/a>", "<https://x.test/a|https://x.test/a>"),
            ("[x](javascript:alert(1))", "x"),
            ("**[site](https://x.test/)**", "*<https://x.test/|site>*"),
            ("<!channel> & <@U1>", "&lt;!channel&gt; &amp; &lt;@U1&gt;"),
            ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
            ("a\n\n---\n\nb", "a\n\n———\n\nb"),
            ("これは**重要**です", "これは\u{200B}*重要*\u{200B}です"),
            ("", ""),
        ] {
            assert_eq!(mrkdwn(markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn placeholders_are_no_markdown() {
        for (markdown, expected) in [
            ("**{{ a.b | upper }}**", "*{{ a.b | upper }}*"),
            ("{{ a_b_c }} and {{ 'x*y*' }}", "{{ a_b_c }} and {{ 'x*y*' }}"),
            ("{{ '}}' }} **x**", "{{ '}}' }} *x*"),
            ("{{ {'*a*': {'b': 1}} | f('*c*') }}", "{{ {'*a*': {'b': 1}} | f('*c*') }}"),
            ("{# a comment #}text", "text"),
            ("[{{ name }}]({{ url }})", "{{ ((url)) | link((name)) }}"),
            (
                "[Open **it's** {{ n }}](https://x.test/{{ id }})",
                "{{ (['https://x.test/', (id)] | join('')) | \
                 link(['Open it\\'s ', (n)] | join('')) }}",
            ),
            ("[]({{ url }})", "{{ ((url)) | link }}"),
            ("[{% if a %}x{% endif %}](https://x.test)", "{% if a %}x{% endif %}"),
            ("a {% if b %}**c**{% endif %} d", "a {% if b %}\u{200B}*c*\u{200B}{% endif %} d"),
        ] {
            assert_eq!(mrkdwn(markdown), expected, "{markdown}");
        }
        assert_eq!(literal("R&D: {{ a }} <x>"), "R&amp;D: {{ a }} &lt;x&gt;");
        assert_eq!(only_expression(" {{- a | trim -}} ").as_deref(), Some("a | trim"));
        assert_eq!(only_expression("{{ a }} {{ b }}"), None);
        assert_eq!(only_expression("{% if a %}"), None);
    }

    #[test]
    fn a_line_of_statements_is_no_line() {
        assert_eq!(
            mrkdwn("Hello\n\n{% if due %}\n- Due {{ due }}\n{% endif %}\nBye"),
            "Hello\n\n{% if due %}• Due {{ due }}\n{% endif %}Bye"
        );
        assert_eq!(
            mrkdwn("{% for p in people %}\n- {{ p }}\n{% endfor %}"),
            "{% for p in people %}• {{ p }}\n{% endfor %}"
        );
        assert_eq!(mrkdwn("```\n{% if a %}\n```"), "```\n{% if a %}\n```");
    }

    proptest! {
        #[test]
        fn no_text_becomes_live_markup(text in "[a-z<>!@#|&*_~`\\[\\]().: \n-]{0,80}") {
            let written = mrkdwn(&text);
            for live in ["<!", "<@", "<#"] {
                prop_assert!(!written.contains(live), "{}", written);
            }
        }

        #[test]
        fn every_placeholder_is_kept(
            parts in prop::collection::vec("[a-z*_> \n-]{0,9}", 0..8),
        ) {
            let source = parts.join("{{ a }}");
            let kept = mrkdwn(&source).matches("{{ a }}").count();
            prop_assert_eq!(kept, parts.len().saturating_sub(1), "{}", source);
        }
    }
}
