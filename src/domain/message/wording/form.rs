//! The two forms in which an author writes a message.

use serde::{Deserialize, Serialize};

use crate::domain::message::render::Template;
use crate::domain::message::render::simple::Simple;

/// A message as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Form {
    /// In a few named places.
    Simple(Simple),
    /// As text and Block Kit.
    Blocks(Template),
}

impl Form {
    /// The message in Block Kit.
    #[must_use]
    pub fn template(&self) -> Template {
        match self {
            Self::Simple(simple) => simple.template(),
            Self::Blocks(template) => template.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_read_back() {
        let simple = Simple { body: "Hello".into(), button: "Go".into(), ..Simple::default() };
        let blocks = Template { text: "Hello".into(), blocks: "[]".into() };
        for (form, name) in [(Form::Simple(simple), "simple"), (Form::Blocks(blocks), "blocks")] {
            let stored = serde_json::to_value(&form).unwrap();
            assert_eq!(stored["form"], json!(name));
            assert_eq!(serde_json::from_value::<Form>(stored).unwrap(), form);
        }
    }
}
