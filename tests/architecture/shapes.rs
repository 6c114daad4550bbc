//! The shapes of types: no parameter is a tuple or an optional one, no `Result` or `Option` is
//! directly inside another one of its kind, and no tuple has only `bool`s. The parts of such types
//! have no names, so a reader has to look up what each of them means.
//!
//! Types in macros are not seen.

use syn::visit::{self, Visit};

use super::scan::{attributes, marks_test, scan};
use super::{module_of, sources};

const TUPLE: &str = "a parameter is a tuple: use a struct";
const RESULTS: &str = "a `Result` in a `Result`: use an enum";
const OPTIONS: &str = "an `Option` in an `Option`: use an enum";
const BOOLS: &str = "a tuple of `bool`s: use a struct or an enum";

/// Shapes that a library dictates: the file, the item in it, and the reason.
const DICTATED: &[(&str, &str, &str)] = &[(
    "src/store/database/postgres.rs",
    "Answered",
    "`tokio::time::timeout` wraps the result of the future that it limits",
)];

/// A type that has one of the refused shapes.
#[derive(Debug)]
struct Shape {
    file: String,
    /// The innermost function or type that names it.
    item: String,
    fault: &'static str,
}

#[test]
fn types_name_their_parts() {
    let files = sources(&["src"]);
    assert!(!files.is_empty(), "the sources were not found");
    let shapes = shapes(&files);
    let is_dictated =
        |shape: &Shape, file: &str, item: &str| shape.file == file && shape.item == item;
    let refused = shapes
        .iter()
        .filter(|shape| !DICTATED.iter().any(|(file, item, _)| is_dictated(shape, file, item)));
    let refused = refused.map(|shape| format!("{}: `{}`: {}", shape.file, shape.item, shape.fault));
    let unused = DICTATED
        .iter()
        .filter(|(file, item, _)| !shapes.iter().any(|shape| is_dictated(shape, file, item)))
        .map(|(file, item, _)| format!("{file}: `{item}` is listed, but has no such shape"));
    let faults: Vec<String> = refused.chain(unused).collect();
    assert!(faults.is_empty(), "name the parts:\n{}", faults.join("\n"));
}

/// The refused shapes in these files (path below the root, and source), without those in tests.
fn shapes(files: &[(String, String)]) -> Vec<Shape> {
    // `modules_know_only_what_they_may` reports a file that is not Rust.
    let tests: Vec<Vec<String>> = files
        .iter()
        .filter_map(|(file, source)| scan(source, &module_of(file)).ok())
        .flat_map(|scan| scan.test_modules)
        .collect();
    let mut shapes = Vec::new();
    for (file, source) in files {
        let module = module_of(file);
        let Ok(parsed) = syn::parse_file(source) else { continue };
        if !tests.iter().any(|test| module.starts_with(test)) {
            let mut walk = Walk { file, item: String::new(), shapes: &mut shapes };
            walk.visit_file(&parsed);
        }
    }
    shapes
}

struct Walk<'a> {
    file: &'a str,
    item: String,
    shapes: &'a mut Vec<Shape>,
}

impl Walk<'_> {
    fn note(&mut self, fault: &'static str) {
        self.shapes.push(Shape { file: self.file.to_owned(), item: self.item.clone(), fault });
    }

    /// Visits an item unless it is part of a test. Shapes in it are reported with its name, if it
    /// has one.
    fn inside(
        &mut self,
        attributes: &[syn::Attribute],
        name: Option<&syn::Ident>,
        visit: impl FnOnce(&mut Self),
    ) {
        if attributes.iter().any(marks_test) {
            return;
        }
        let before = self.item.clone();
        if let Some(name) = name {
            self.item = name.to_string();
        }
        visit(self);
        self.item = before;
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.inside(attributes(item), name(item), |walk| visit::visit_item(walk, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let name = Some(&item.sig.ident);
        self.inside(&item.attrs, name, |walk| visit::visit_impl_item_fn(walk, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        let name = Some(&item.sig.ident);
        self.inside(&item.attrs, name, |walk| visit::visit_trait_item_fn(walk, item));
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        for input in &signature.inputs {
            if let syn::FnArg::Typed(input) = input
                && is_tuple(&input.ty)
            {
                self.note(TUPLE);
            }
        }
        visit::visit_signature(self, signature);
    }

    fn visit_type(&mut self, of: &'ast syn::Type) {
        if let Some(inner) = argument(of, "Result") {
            let within_option = argument(inner, "Option").is_some_and(|it| is(it, "Result"));
            if is(inner, "Result") || within_option {
                self.note(RESULTS);
            }
        }
        if argument(of, "Option").is_some_and(|inner| is(inner, "Option")) {
            self.note(OPTIONS);
        }
        if let syn::Type::Tuple(tuple) = of
            && tuple.elems.len() > 1
            && tuple.elems.iter().all(|part| is(part, "bool"))
        {
            self.note(BOOLS);
        }
        visit::visit_type(self, of);
    }
}

fn name(item: &syn::Item) -> Option<&syn::Ident> {
    match item {
        syn::Item::Const(item) => Some(&item.ident),
        syn::Item::Enum(item) => Some(&item.ident),
        syn::Item::Fn(item) => Some(&item.sig.ident),
        syn::Item::Static(item) => Some(&item.ident),
        syn::Item::Struct(item) => Some(&item.ident),
        syn::Item::Trait(item) => Some(&item.ident),
        syn::Item::Type(item) => Some(&item.ident),
        _ => None,
    }
}

/// Whether this is a tuple with parts, an `Option` of one, or a reference to either.
fn is_tuple(of: &syn::Type) -> bool {
    match of {
        syn::Type::Reference(reference) => is_tuple(&reference.elem),
        syn::Type::Tuple(tuple) => !tuple.elems.is_empty(),
        _ => argument(of, "Option").is_some_and(is_tuple),
    }
}

/// Whether this is the type of this name, by whichever path.
fn is(of: &syn::Type, name: &str) -> bool {
    last(of).is_some_and(|segment| segment.ident == name)
}

/// The first type argument of the type of this name.
fn argument<'t>(of: &'t syn::Type, name: &str) -> Option<&'t syn::Type> {
    let segment = last(of).filter(|segment| segment.ident == name)?;
    let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(inner) => Some(inner),
        _ => None,
    })
}

fn last(of: &syn::Type) -> Option<&syn::PathSegment> {
    match of {
        syn::Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

#[test]
fn every_refused_shape_is_found() {
    let found = |source: &str| -> Vec<&'static str> {
        let files = [("src/app/a.rs".to_owned(), source.to_owned())];
        shapes(&files).into_iter().map(|shape| shape.fault).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(found("fn f((a, b): (u8, u8)) {}"), [TUPLE]);
    assert_eq!(found("impl S { fn f(&self, a: &(u8, u8)) {} }"), [TUPLE]);
    assert_eq!(found("trait T { fn f(a: &mut (u8, u8)); }"), [TUPLE]);
    assert_eq!(found("fn f() { fn g(a: (u8,)) {} }"), [TUPLE]);
    assert_eq!(found("fn f(a: Option<(u8, u8)>) {}"), [TUPLE]);
    assert_eq!(found("trait T { fn f(a: Option<&(u8, u8)>); }"), [TUPLE]);
    assert_eq!(found("fn f(a: &std::option::Option<(u8, u8)>) {}"), [TUPLE]);
    assert_eq!(found("fn f() -> Result<Result<A, B>, C> { g() }"), [RESULTS]);
    assert_eq!(found("type A<T> = std::io::Result<Result<T, B>>;"), [RESULTS]);
    assert_eq!(found("fn f() -> Result<Option<Result<A, B>>, C> { g() }"), [RESULTS]);
    assert_eq!(found("struct S { a: Vec<Option<Option<u8>>> }"), [OPTIONS]);
    assert_eq!(found("fn f() { let a: (bool, bool) = g(); }"), [BOOLS]);
    assert_eq!(found("enum E { A(Vec<(bool, bool, bool)>) }"), [BOOLS]);
    for clean in [
        "fn f(a: (), b: &[(u8, u8)]) -> (u8, bool) { g() }",
        "fn f(a: Option<()>, b: Option<&[(u8, u8)]>) -> Option<(u8, bool)> { g() }",
        "fn f() -> Result<Option<A>, Result<B, C>> { g() }",
        "fn f() -> Poll<Option<Result<A, B>>> { g() }",
        "#[cfg(test)] mod tests { fn f(a: (bool, bool)) {} }",
        "impl S { #[cfg(test)] fn f(a: (u8, u8)) {} }",
        "#[test] fn f() { let a: Option<Option<u8>> = g(); }",
    ] {
        assert_eq!(found(clean), none, "{clean}");
    }
}

#[test]
fn a_file_of_tests_may_have_any_shape() {
    let files = [
        ("src/app/mod.rs".to_owned(), "#[cfg(test)] mod tests;".to_owned()),
        ("src/app/tests.rs".to_owned(), "fn f(a: (u8, u8)) {}".to_owned()),
    ];
    assert!(shapes(&files).is_empty());
}
