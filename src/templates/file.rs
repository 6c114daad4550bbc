//! A template's file: its message, and the lines and columns of its parts, for refusals.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::{json, position};
use crate::rpc::pb::template::Form;
use crate::rpc::pb::{BlocksMessage, SimpleField, SimpleImage, SimpleMessage};

/// The most bytes of a file. A template has at most 32 KiB of blocks; a file may have comments and
/// escapes, too.
pub(super) const MOST_BYTES: u64 = 256 * 1024;

/// The form of a file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Toml {
    content_id: Option<String>,
    simple: Option<Simple>,
    blocks: Option<Blocks>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Simple {
    heading: Option<Spanned<String>>,
    body: Option<Spanned<String>>,
    #[serde(default)]
    fields: Vec<Fact>,
    image: Option<Image>,
    context: Option<Spanned<String>>,
    button: Option<Spanned<String>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    label: Spanned<String>,
    value: Spanned<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    url: Spanned<String>,
    alt: Option<Spanned<String>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    text: Spanned<String>,
    blocks_json: Spanned<String>,
}

/// A template that was read from a file.
pub(super) struct TemplateFile {
    pub(super) form: Form,
    /// The content item that the file states.
    pub(super) content_id: Option<String>,
    source: String,
    /// The strings of the message, by their path in a `Template`, with their quotes.
    strings: BTreeMap<String, Range<usize>>,
}

/// Why a file has no template: a sentence, with its line and column.
pub(super) type FileFault = ((usize, usize), String);

impl TemplateFile {
    /// Reads the text of a file.
    pub(super) fn parse(source: String) -> Result<Self, FileFault> {
        let toml: Toml = toml::from_str(&source).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (position::line_and_column(&source, at), error.message().trim().replace('\n', ": "))
        })?;
        let mut strings = Strings::default();
        let form = match (toml.simple, toml.blocks) {
            (Some(simple), None) => Form::Simple(strings.simple(simple)),
            (None, Some(blocks)) => Form::Blocks(BlocksMessage {
                text: strings.take("blocks.text", Some(blocks.text)),
                blocks_json: strings.take("blocks.blocks_json", Some(blocks.blocks_json)),
            }),
            _ => {
                let sentence = "must have one message: either [simple] or [blocks]";
                return Err(((1, 1), sentence.to_owned()));
            }
        };
        Ok(Self { form, content_id: toml.content_id, source, strings: strings.0 })
    }

    /// The line and the column of a problem that Herald reports for this field of its request. A
    /// line and a column in the sentence count from the beginning of that field.
    pub(super) fn place(&self, field: &str, sentence: &str) -> (usize, usize) {
        let field = field.strip_prefix("template.").unwrap_or(field);
        let (name, path) = match field.strip_prefix("blocks") {
            None | Some("" | ".text") => (field, None),
            Some(part) => ("blocks.blocks_json", part.find('[').and_then(|at| part.get(at..))),
        };
        let within = |(part, _): &(&String, &Range<usize>)| part.starts_with(name);
        let string = self.strings.get(name);
        let Some(span) = string.or_else(|| self.strings.iter().find(within).map(|(_, it)| it))
        else {
            return (1, 1);
        };
        let in_value = string.and_then(|_| {
            let value = self.value(name);
            let line = number_after(sentence, "line ");
            match (line, number_after(sentence, "column ")) {
                (Some(line), Some(column)) => Some(position::offset(value, line, column)),
                _ => path
                    .and_then(|path| json::offset(value, path))
                    .or_else(|| line.map(|line| position::offset(value, line, 1))),
            }
        });
        let written = self.source.get(span.clone()).unwrap_or_default();
        // Without a place in the value: the string with its quotes.
        let at = span.start + in_value.map_or(0, |offset| position::in_toml(written, offset));
        position::line_and_column(&self.source, at)
    }

    /// The value of a string of the message.
    fn value(&self, name: &str) -> &str {
        match &self.form {
            Form::Blocks(blocks) if name == "blocks.text" => &blocks.text,
            Form::Blocks(blocks) => &blocks.blocks_json,
            Form::Simple(simple) => match name.strip_prefix("simple.").unwrap_or_default() {
                "heading" => &simple.heading,
                "body" => &simple.body,
                "context" => &simple.context,
                "button" => &simple.button,
                name => of_list_or_image(simple, name).unwrap_or_default(),
            },
        }
    }
}

/// The value of a part such as `fields[0].label` or `image.url`.
fn of_list_or_image<'a>(simple: &'a SimpleMessage, name: &str) -> Option<&'a str> {
    if let Some(part) = name.strip_prefix("image.") {
        let image = simple.image.as_ref()?;
        return Some(if part == "url" { image.url.as_str() } else { image.alt.as_str() });
    }
    let (index, part) = name.strip_prefix("fields[")?.split_once("].")?;
    let field = simple.fields.get(index.parse::<usize>().ok()?)?;
    Some(if part == "label" { field.label.as_str() } else { field.value.as_str() })
}

/// The first number that follows these words.
fn number_after(sentence: &str, words: &str) -> Option<usize> {
    sentence.match_indices(words).find_map(|(at, _)| {
        let rest = sentence.get(at + words.len()..)?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    })
}

/// The strings of a message, with their places.
#[derive(Default)]
struct Strings(BTreeMap<String, Range<usize>>);

impl Strings {
    fn take(&mut self, name: &str, string: Option<Spanned<String>>) -> String {
        let Some(string) = string else { return String::new() };
        self.0.insert(name.to_owned(), string.span());
        string.into_inner()
    }

    fn simple(&mut self, simple: Simple) -> SimpleMessage {
        let fields = simple.fields.into_iter().enumerate().map(|(index, fact)| SimpleField {
            label: self.take(&format!("simple.fields[{index}].label"), Some(fact.label)),
            value: self.take(&format!("simple.fields[{index}].value"), Some(fact.value)),
        });
        let fields = fields.collect();
        let image = simple.image.map(|image| SimpleImage {
            url: self.take("simple.image.url", Some(image.url)),
            alt: self.take("simple.image.alt", image.alt),
        });
        SimpleMessage {
            heading: self.take("simple.heading", simple.heading),
            body: self.take("simple.body", simple.body),
            fields,
            image,
            context: self.take("simple.context", simple.context),
            button: self.take("simple.button", simple.button),
        }
    }
}
