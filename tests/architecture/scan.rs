//! The paths that a Rust source file names: `use` trees, paths in code, and paths in the tokens of
//! macros and attributes, each resolved to `crate::...` or to an outside crate.
//!
//! This sees syntax only, so names are resolved without scopes: an alias counts for the whole file,
//! and a path through a `use` in *another* file (`crate::a::Reexported`) is kept as written.

use syn::buffer::{Cursor, TokenBuffer};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};

/// A path named somewhere in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mention {
    /// Resolved segments: `["crate", "store", "Store"]`, `["tokio", "spawn"]`; a glob ends with
    /// `*`.
    pub(crate) path: Vec<String>,
    /// Inside `#[cfg(test)]` or `#[test]`, so never part of the product.
    pub(crate) in_test: bool,
}

/// The contents of one file.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Every path, sorted, without repeats.
    pub(crate) mentions: Vec<Mention>,
    /// Modules declared here under `#[cfg(test)]`; their own files are test code too.
    pub(crate) test_modules: Vec<Vec<String>>,
    /// All other modules declared here that have their own files, in this order.
    pub(crate) modules: Vec<Vec<String>>,
    /// Names that `pub use` re-exports: the name here, and the path that it stands for.
    pub(crate) exports: Vec<(String, Vec<String>)>,
    /// Types and traits that other files can see, without those of tests and of macros.
    pub(crate) types: Vec<String>,
}

/// Scans `source`, the file of `module` (such as `["crate", "slack", "client"]`).
pub(crate) fn scan(source: &str, module: &[String]) -> syn::Result<Scan> {
    let file = syn::parse_file(source)?;
    let mut walk = Walk { module: module.to_vec(), ..Walk::default() };
    walk.visit_file(&file);
    let mut mentions: Vec<Mention> = walk
        .raw
        .iter()
        .flat_map(|raw| {
            let paths = expand(&raw.path, &walk.aliases, 4);
            paths.into_iter().map(|path| Mention { path, in_test: raw.in_test })
        })
        .collect();
    mentions.sort();
    mentions.dedup();
    let Walk { test_modules, modules, exports, types, .. } = walk;
    Ok(Scan { mentions, test_modules, modules, exports, types })
}

/// The path with its first segment replaced by the path that the file imported under that name, if
/// any.
fn expand(path: &[String], aliases: &[(String, Vec<String>)], depth: usize) -> Vec<Vec<String>> {
    let meanings = aliases.iter().filter(|(name, meaning)| {
        Some(name) == path.first() && meaning.first() != path.first() && depth > 0
    });
    let mut expanded: Vec<Vec<String>> = meanings
        .flat_map(|(_, meaning)| {
            let whole: Vec<String> = meaning.iter().chain(&path[1..]).cloned().collect();
            expand(&whole, aliases, depth - 1)
        })
        .collect();
    if expanded.is_empty() {
        expanded.push(path.to_vec());
    }
    expanded
}

#[derive(Default)]
struct Walk {
    module: Vec<String>,
    in_test: bool,
    raw: Vec<Mention>,
    aliases: Vec<(String, Vec<String>)>,
    test_modules: Vec<Vec<String>>,
    modules: Vec<Vec<String>>,
    exports: Vec<(String, Vec<String>)>,
    types: Vec<String>,
}

impl Walk {
    /// Records a written path, after resolving `crate`, `self` and `super`.
    fn note(&mut self, written: &[String]) {
        if let Some(path) = self.absolute(written) {
            self.raw.push(Mention { path, in_test: self.in_test });
        }
    }

    /// `None` if the path names nothing: a bare `crate` or `super`, as in `pub(crate)`.
    fn absolute(&self, written: &[String]) -> Option<Vec<String>> {
        let mut base: Option<Vec<String>> = None;
        let mut rest = written;
        while let Some((first, tail)) = rest.split_first() {
            match (first.as_str(), &mut base) {
                ("crate", None) => base = Some(vec!["crate".to_owned()]),
                ("self", None) => base = Some(self.module.clone()),
                ("super", None) => base = Some(self.module[..self.module.len() - 1].to_vec()),
                ("super", Some(base)) if base.len() > 1 => drop(base.pop()),
                ("self", Some(_)) => {}
                _ => break,
            }
            rest = tail;
        }
        if rest.is_empty() {
            return None;
        }
        Some(base.into_iter().flatten().chain(rest.iter().cloned()).collect())
    }

    fn note_use(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |ident: &syn::Ident| [prefix, &[ident.unraw().to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.note_use(item, prefix));
            }
            syn::UseTree::Glob(_) => self.note(&[prefix, &["*".to_owned()]].concat()),
            syn::UseTree::Name(name) => self.note_leaf(&with(&name.ident), None),
            syn::UseTree::Rename(rename) => {
                self.note_leaf(&with(&rename.ident), Some(rename.rename.unraw().to_string()));
            }
        }
    }

    /// One imported item; the file knows it by `name`, or by its last segment if that is `None`.
    fn note_leaf(&mut self, written: &[String], name: Option<String>) {
        let written = match written.split_last() {
            Some((last, module)) if last == "self" && !module.is_empty() => module,
            _ => written,
        };
        let meaning = self.absolute(written).unwrap_or_else(|| written.to_vec());
        if let Some(name) = name.or_else(|| meaning.last().cloned()) {
            self.aliases.push((name, meaning));
        }
        self.note(written);
    }

    /// Paths of two segments or more in tokens that are not parsed as Rust.
    fn note_tokens(&mut self, mut cursor: Cursor<'_>) {
        let mut path: Vec<String> = Vec::new();
        while !cursor.eof() {
            if let Some((ident, after)) = cursor.ident() {
                path.push(ident.unraw().to_string());
                cursor = after;
                if let Some(after) = double_colon(cursor) {
                    cursor = after;
                    continue;
                }
            } else if let Some((inside, _, _, after)) = cursor.any_group() {
                self.note_tokens(inside);
                cursor = after;
            } else if let Some((_, after)) = cursor.token_tree() {
                cursor = after;
            }
            if path.len() > 1 {
                self.note(&path);
            }
            path.clear();
        }
        if path.len() > 1 {
            self.note(&path);
        }
    }

    fn in_test_if<T>(&mut self, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Self) -> T) {
        let before = self.in_test;
        self.in_test |= attributes.iter().any(marks_test);
        visit(self);
        self.in_test = before;
    }
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.in_test_if(attributes(item), |walk| {
            if !walk.in_test {
                walk.types.extend(visible_type(item));
            }
            visit::visit_item(walk, item);
        });
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.unraw().to_string());
        if item.content.is_none() {
            let modules = if self.in_test { &mut self.test_modules } else { &mut self.modules };
            modules.push(self.module.clone());
        }
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let before = self.aliases.len();
        self.note_use(&item.tree, &[]);
        if !matches!(item.vis, syn::Visibility::Inherited) {
            self.exports.extend_from_slice(&self.aliases[before..]);
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let name = item.ident.unraw().to_string();
        self.note_leaf(&[name], item.rename.as_ref().map(|(_, name)| name.unraw().to_string()));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect();
        // A single name is either local, or its `use` has already been recorded.
        if segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.note_tokens(TokenBuffer::new2(item.tokens.clone()).begin());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.visit_path(&list.path);
        self.note_tokens(TokenBuffer::new2(list.tokens.clone()).begin());
    }
}

/// The tokens after `::`, if the cursor is at one.
fn double_colon(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, cursor) = cursor.punct()?;
    let (second, cursor) = cursor.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(cursor)
}

/// `#[test]`, `#[tokio::test]` and `#[cfg(test)]`, also within `all(...)`; not `cfg(not(test))`.
pub(crate) fn marks_test(attribute: &syn::Attribute) -> bool {
    let path = attribute.path();
    if path.is_ident("cfg") {
        let mut is_test = false;
        // Conditions of other shapes (`feature = "x"`) end the parse: only what came before counts.
        let _ = attribute.parse_nested_meta(|meta| {
            is_test |= meta.path.is_ident("test");
            if meta.path.is_ident("all") {
                meta.parse_nested_meta(|meta| {
                    is_test |= meta.path.is_ident("test");
                    Ok(())
                })?;
            }
            Ok(())
        });
        return is_test;
    }
    path.segments.last().is_some_and(|last| last.ident == "test")
}

/// The name of the type or trait, if other files can see it.
fn visible_type(item: &syn::Item) -> Option<String> {
    let (visibility, name) = match item {
        syn::Item::Enum(item) => (&item.vis, &item.ident),
        syn::Item::Struct(item) => (&item.vis, &item.ident),
        syn::Item::Trait(item) => (&item.vis, &item.ident),
        syn::Item::Type(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    let is_visible = !matches!(visibility, syn::Visibility::Inherited);
    is_visible.then(|| name.unraw().to_string())
}

pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
