//! `docs/settings.md`: every setting, from the fields of the modules' own `Config` and their doc
//! comments. A setting documents its default as "Default `value`", which the test compares with the
//! code, or, if it is not a fixed value, as "Default: " and words.

use std::fmt::Write as _;

use herald::config::Settings;
use syn::{Attribute, Expr, Field, Fields, Item, ItemStruct, Lit, Meta, UsePath, UseTree};

use super::{is_as_written, read, root, sources};

/// The file, and its first paragraphs.
const FILE: &str = "docs/settings.md";
const HEAD: &str = "\
# Settings

This page is generated from the code; `herald settings` prints it for the installed version. Later
sources override earlier ones:

1. the default;
2. a TOML file: `--config FILE`, or `HERALD_CONFIG` in the environment;
3. the environment: `HERALD_<SECTION>__<KEY>`, such as `HERALD_RPC__ADDRESS=127.0.0.1:50051`;
4. flags: `--set section.key=value`, repeated as needed.

If a setting is invalid or unknown, the start fails with a sentence that names it. `herald serve`
prints its settings at the start, without secrets. `herald check` tests them without serving.
";

struct Section {
    /// `rpc`, or `[rpc.callers]` for entries of a list.
    path: String,
    doc: String,
    settings: Vec<Setting>,
}

struct Setting {
    key: String,
    doc: String,
}

impl Setting {
    /// The documented default, if it is a value.
    fn default(&self) -> Option<&str> {
        let (_, rest) = self.doc.split_once("Default `")?;
        rest.split_once('`').map(|(value, _)| value)
    }

    fn says_its_default(&self) -> bool {
        self.default().is_some() || self.doc.contains("Default: ") || self.doc.contains("Needed.")
    }
}

#[test]
fn the_page_is_what_the_code_says() {
    is_as_written(FILE, &page(&sections()));
}

#[test]
fn documented_keys_and_defaults_are_those_of_the_code() {
    let load = |set: &[String]| {
        Settings::load(None, std::iter::empty(), &[&["rpc.insecure=true".into()], set].concat())
    };
    let default = format!("{:?}", load(&[]).unwrap());
    for section in sections().iter().filter(|section| !section.path.starts_with('[')) {
        for setting in &section.settings {
            let name = format!("{}.{}", section.path, setting.key);
            assert!(setting.says_its_default(), "{name} does not say its default");
            if let Some(value) = setting.default().filter(|_| name != "rpc.insecure") {
                let settings = load(&[format!("{name}={value}")]);
                let settings = settings.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(format!("{settings:?}"), default, "{name} has another default");
            }
            // The error for an unknown key names that fault, whatever the value.
            if let Err(error) = load(&[format!("{name}=?")]) {
                assert!(!error.to_string().contains("is not a setting"), "{error}");
            }
        }
    }
}

fn sections() -> Vec<Section> {
    let config = parse("src/config.rs");
    let mut sections = Vec::new();
    for field in fields(&struct_named(&config, "Settings").unwrap()) {
        let path = field.ident.as_ref().unwrap().to_string();
        let of = section(&path, field, &config);
        let is_rpc = of.path == "rpc";
        sections.push(of);
        if is_rpc {
            sections.extend(entries());
        }
    }
    sections
}

/// The lists of the gRPC side, with the settings of one entry.
fn entries() -> Vec<Section> {
    let entry = |path: &str, doc: &str, item: &ItemStruct| Section {
        path: path.into(),
        doc: doc.into(),
        settings: settings(item),
    };
    let (rpc, tokens) = (root().join("src/rpc"), root().join("src/tokens"));
    let (issuer, rule) = (find(&tokens, "Config"), find(&tokens, "RuleConfig"));
    vec![
        entry(
            "[rpc.callers]",
            "One API key or certificate that may call. Repeat the entry for more.",
            &find(&rpc, "CallerConfig"),
        ),
        entry(
            "[rpc.issuers]",
            "An issuer whose tokens (JWT) are accepted. Repeat the entry for more.",
            &issuer,
        ),
        entry(
            "[rpc.issuers.callers]",
            "A caller that some tokens of the issuer admit. Repeat the entry for more.",
            &rule,
        ),
    ]
}

/// The section of one field of `Settings`: its type is `module::Config`, or a struct in the same
/// file.
fn section(path: &str, field: &Field, config: &syn::File) -> Section {
    let syn::Type::Path(named) = &field.ty else { panic!("{path} is not a struct") };
    let names: Vec<_> = named.path.segments.iter().map(|one| one.ident.to_string()).collect();
    let item = match names.as_slice() {
        [own] => struct_named(config, own).unwrap(),
        [module, name] => exported(module, name),
        _ => panic!("{path} is of an unexpected type"),
    };
    Section { path: path.into(), doc: doc(&field.attrs), settings: settings(&item) }
}

fn settings(item: &ItemStruct) -> Vec<Setting> {
    fields(item)
        .map(|field| Setting {
            key: renamed(field).unwrap_or_else(|| field.ident.as_ref().unwrap().to_string()),
            doc: doc(&field.attrs),
        })
        .collect()
}

/// The name in `#[serde(rename = "...")]`.
fn renamed(field: &Field) -> Option<String> {
    let mut name = None;
    for attribute in field.attrs.iter().filter(|one| one.path().is_ident("serde")) {
        attribute
            .parse_nested_meta(|meta| {
                let value = meta.value().and_then(syn::parse::ParseBuffer::parse::<syn::LitStr>);
                if let (true, Ok(text)) = (meta.path.is_ident("rename"), value) {
                    name = Some(text.value());
                }
                Ok(())
            })
            .unwrap();
    }
    name
}

fn fields(item: &ItemStruct) -> impl Iterator<Item = &Field> {
    let Fields::Named(named) = &item.fields else { panic!("{} has no named fields", item.ident) };
    named.named.iter()
}

/// The doc comment as one paragraph; links to items lose their brackets.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

fn parse(path: &str) -> syn::File {
    syn::parse_file(&read(path)).unwrap()
}

fn struct_named(file: &syn::File, name: &str) -> Option<ItemStruct> {
    file.items.iter().find_map(|item| match item {
        Item::Struct(found) if found.ident == name => Some(found.clone()),
        _ => None,
    })
}

/// The struct that a module exports under this name, in the file that its `pub use` names.
fn exported(module: &str, name: &str) -> ItemStruct {
    let uses =
        parse(&format!("src/{module}/mod.rs")).items.into_iter().filter_map(|item| match item {
            Item::Use(item) => Some(item.tree),
            _ => None,
        });
    for tree in uses {
        let UseTree::Path(UsePath { ident: file, tree, .. }) = tree else { continue };
        let leaves = match *tree {
            UseTree::Group(group) => group.items.into_iter().collect(),
            leaf => vec![leaf],
        };
        for leaf in leaves {
            let own = match &leaf {
                UseTree::Name(named) if named.ident == name => &named.ident,
                UseTree::Rename(renamed) if renamed.rename == name => &renamed.ident,
                _ => continue,
            };
            let file = parse(&format!("src/{module}/{file}.rs"));
            return struct_named(&file, &own.to_string()).unwrap();
        }
    }
    panic!("src/{module}/mod.rs exports no {name}")
}

/// The only struct with this name in a module's files.
fn find(folder: &std::path::Path, name: &str) -> ItemStruct {
    let mut found: Vec<ItemStruct> = sources(folder)
        .iter()
        .map(|file| syn::parse_file(&std::fs::read_to_string(file).unwrap()).unwrap())
        .filter_map(|file| struct_named(&file, name))
        .collect();
    assert_eq!(found.len(), 1, "{name} in {}", folder.display());
    found.remove(0)
}

fn page(sections: &[Section]) -> String {
    let mut page = HEAD.to_owned();
    for Section { path, doc, settings } in sections {
        write!(page, "\n## `[{path}]`\n\n{doc}\n\n| key | meaning |\n|---|---|\n").unwrap();
        for Setting { key, doc } in settings {
            writeln!(page, "| `{key}` | {} |", doc.replace('|', "\\|")).unwrap();
        }
    }
    page
}
