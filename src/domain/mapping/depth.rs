//! The nesting depth of an expression, measured before any code recurses over it.
//!
//! jmespath 0.5 parses, evaluates, clones and drops by recursion and has no limit of its own: a few
//! hundred levels overflow the stack and abort the process. Levels come from brackets of all kinds;
//! prefixes (`!!!!a`, `&&a` with spaces); chains, which the parser reads in a loop but keeps as a
//! list of nested nodes (`a.b.c`, `a || b || c`, `a | b`); projections, which it reads by recursion
//! (`a[*].b[*]`); and JSON in backticks.
//!
//! [`measure`] never returns less than the true depth. Within one bracket and one comma-separated
//! item, the item's levels are its loosely binding operators (`|`, `||`, `&&`, comparisons, `&`),
//! plus the greatest number of tight ones (`.`, `*`, `!`, brackets) between two of them, plus the
//! levels nested there. Quoted texts add no levels, whatever they contain.

use crate::domain::limits::EXPRESSION_DEPTH;

/// The byte at which the expression nests deeper than [`EXPRESSION_DEPTH`], if it does.
pub(super) fn too_deep_at(source: &str) -> Option<usize> {
    measure(source, EXPRESSION_DEPTH).1
}

/// One open bracket (or the whole expression) and the item that is being read in it.
#[derive(Default)]
struct Frame {
    /// Loosely binding operators so far.
    loose: usize,
    /// Tight operators since the last loose one.
    tight: usize,
    /// The deepest bracket since the last loose one.
    nested: usize,
    /// The deepest stretch between two loose ones.
    stretch: usize,
    /// The deepest of the items before this one.
    items: usize,
}

impl Frame {
    fn item(&self) -> usize {
        self.loose + self.stretch.max(self.tight + self.nested)
    }

    fn depth(&self) -> usize {
        self.items.max(self.item())
    }

    /// Levels around the content of a bracket that was just opened, which counts as tight.
    fn around(&self) -> usize {
        self.loose + self.tight
    }

    fn loose(&mut self) {
        self.stretch = self.stretch.max(self.tight + self.nested);
        (self.tight, self.nested) = (0, 0);
        self.loose += 1;
    }

    fn comma(&mut self) {
        *self = Self { items: self.depth(), ..Self::default() };
    }
}

/// The depth, and the byte where it first exceeded `limit`; reading stops there.
fn measure(source: &str, limit: usize) -> (usize, Option<usize>) {
    let bytes = source.as_bytes();
    let next_is = |at: usize, byte: u8| bytes.get(at + 1) == Some(&byte);
    let mut frame = Frame::default();
    let mut outer: Vec<Frame> = Vec::new();
    let mut around = 0;
    let mut deepest = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let mut width = 1;
        let mut literal = 0;
        match byte {
            b'\'' | b'"' => width = quoted(&bytes[at..]),
            b'`' => {
                width = quoted(&bytes[at..]);
                literal = json_depth(&bytes[at..at + width]);
                frame.nested = frame.nested.max(literal);
            }
            b'[' if next_is(at, b']') => {
                width = 2;
                frame.tight += 1;
            }
            b'[' | b'(' | b'{' => {
                frame.tight += 1;
                around += frame.around();
                outer.push(std::mem::take(&mut frame));
            }
            b']' | b')' | b'}' => {
                if let Some(parent) = outer.pop() {
                    let depth = frame.depth();
                    frame = parent;
                    around -= frame.around();
                    frame.nested = frame.nested.max(depth);
                }
            }
            b',' => frame.comma(),
            b'!' if next_is(at, b'=') => {
                width = 2;
                frame.loose();
            }
            b'.' | b'*' | b'!' => frame.tight += 1,
            b'|' | b'&' | b'=' | b'<' | b'>' => {
                if next_is(at, *byte) || matches!(byte, b'<' | b'>') && next_is(at, b'=') {
                    width = 2;
                }
                frame.loose();
            }
            _ => {}
        }
        let depth = around + frame.depth().max(literal);
        deepest = deepest.max(depth);
        if depth > limit {
            return (depth, Some(at));
        }
        at += width;
    }
    (deepest, None)
}

/// Bytes of a quoted text with its quotes; all remaining bytes if it never ends. As in jmespath's
/// lexer, a backslash escapes the next byte.
fn quoted(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            _ if *byte == bytes[0] => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The nesting depth of the JSON between backticks.
fn json_depth(literal: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in literal {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use jmespath::ast::Ast;
    use proptest::prelude::*;

    use super::*;

    fn depth(source: &str) -> usize {
        measure(source, usize::MAX).0
    }

    /// The depth of the tree in operators. A filter, a flatten or a slice is two or three nodes.
    fn tree(ast: &Ast) -> usize {
        let nested = match ast {
            Ast::Comparison { lhs, rhs, .. }
            | Ast::Projection { lhs, rhs, .. }
            | Ast::And { lhs, rhs, .. }
            | Ast::Or { lhs, rhs, .. }
            | Ast::Subexpr { lhs, rhs, .. } => tree(lhs).max(tree(rhs)),
            Ast::Condition { predicate, then, .. } => tree(predicate).max(tree(then)),
            Ast::Expref { ast: node, .. }
            | Ast::Not { node, .. }
            | Ast::Flatten { node, .. }
            | Ast::ObjectValues { node, .. } => tree(node),
            Ast::Function { args: nodes, .. } | Ast::MultiList { elements: nodes, .. } => {
                nodes.iter().map(tree).max().unwrap_or(0)
            }
            Ast::MultiHash { elements, .. } => {
                elements.iter().map(|element| tree(&element.value)).max().unwrap_or(0)
            }
            _ => 0,
        };
        1 + nested
    }

    #[test]
    fn everyday_expressions_are_shallow() {
        assert_eq!(depth("email"), 0);
        assert_eq!(depth("profile.fields.XF12345.value"), 3);
        assert_eq!(depth(r#"profile."a.b.c.[[[[".x"#), 2);
        assert_eq!(depth("a.b || c.d || e.f"), 3);
        assert!(depth("not_null(profile.fields.X1.value, name) | [0]") < 8);
        let many = vec!["profile.fields.XF1.value"; 30].join(" || ");
        assert_eq!(depth(&many), 32);
    }

    #[test]
    fn quoted_texts_count_nothing() {
        let deep = "[({".repeat(50);
        assert_eq!(depth(&format!("'{deep}'")), 0);
        assert_eq!(depth(&format!("\"{deep}\"")), 0);
        assert_eq!(depth(&format!("`\"{deep}\"`")), 0);
        assert_eq!(depth(&format!(r#"'it\'s {deep}' || "a\"{deep}""#)), 1);
        assert_eq!(depth(&format!(r#"`"\`\"{deep}"`"#)), 0);
    }

    #[test]
    fn the_place_where_it_becomes_too_deep() {
        assert_eq!(too_deep_at(&"(".repeat(1000)), Some(64));
        assert_eq!(too_deep_at(&"!".repeat(1000)), Some(64));
        let json = format!("a || `{}1{}`", "[".repeat(64), "]".repeat(64));
        assert_eq!(too_deep_at(&json), Some(5));
    }

    #[test]
    fn every_way_to_nest_is_seen() {
        let shapes = [
            ("(", "a", ")"),
            ("[", "a", "]"),
            ("{a:", "b", "}"),
            ("!", "a", ""),
            ("& ", "a", ""),
            ("a.", "b", ""),
            ("a|", "b", ""),
            ("a||", "b", ""),
            ("a&&", "b", ""),
            ("a==", "b", ""),
            ("a<", "b", ""),
            ("a!=", "b", ""),
            ("f(", "a", ")"),
            ("a[?", "b", "]"),
            ("a[*].", "b", ""),
            ("*.", "b", ""),
            ("a[].", "b", ""),
            ("a[0].", "b", ""),
            ("", "a", "[0]"),
            ("", "a", "[]"),
            ("", "a", "[?b]"),
            ("", "a", "[:1]"),
            ("", "a", ".*"),
            ("", "a", ".{b:c}"),
            ("a.[", "b", "]"),
            ("a||&", "b", ""),
            ("[b,", "a", "]"),
            ("a.&", "b", ""),
            ("`", "[[[[1]]]]", "`||a"),
        ];
        for (before, middle, after) in shapes {
            let source = format!("{}{middle}{}", before.repeat(70), after.repeat(70));
            assert!(too_deep_at(&source).is_some() || before == "`", "{before}{middle}{after}");
        }
    }

    proptest! {
        #[test]
        fn never_less_than_the_tree(source in crate::domain::mapping::tests::expression()) {
            let ast = jmespath::parse(&source).unwrap();
            let (tree, depth) = (tree(&ast), depth(&source));
            prop_assert!(tree <= 1 + 3 * depth, "{tree} {depth}");
        }

        #[test]
        fn never_less_for_a_row_of_tokens(parts in proptest::collection::vec(0..26_usize, 0..14)) {
            const PARTS: [&str; 26] = [
                "a", "a", "b", ".", ".", "[*]", "[]", "[?", "]", "(", ")", "||", "|", "&&", "==",
                "!", "&", "*", "[0]", "[1:]", "f(", ",", "{a:", "}", "`[1]`", "[",
            ];
            let source: String = parts.iter().map(|part| PARTS[*part]).collect();
            if let Ok(ast) = jmespath::parse(&source) {
                let (tree, depth) = (tree(&ast), depth(&source));
                prop_assert!(tree <= 1 + 3 * depth, "{tree} {depth}");
            }
        }
    }
}
