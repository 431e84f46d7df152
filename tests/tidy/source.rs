//! Rust files as data: what a file is called in the crate's module tree, its text, and its syntax where a rule asks for
//! it. Which rules there are is left to the files beside this one.

use std::path::Path;

use syn::visit::{self, Visit};

/// One Rust file of the repository.
pub struct Source {
    /// From the repository's root, with forward slashes.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
    /// Its modules below the crate's root: `["chain", "types"]`. Empty for roots and for what is not under src.
    pub module: Vec<String>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub rule: &'static str,
    pub path: String,
    pub line: usize,
    /// What it is, and what to put in its stead.
    pub what: String,
}

impl Source {
    /// # Panics
    /// When the text is not Rust.
    pub fn new(path: &str, text: &str) -> Source {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            syntax,
            module: module(path),
        }
    }

    pub fn is_under_src(&self) -> bool {
        self.path.starts_with("src/") && self.path != "src/build.rs"
    }

    /// A file that holds nothing but tests, or what only tests use. Our own node is a program like any other.
    pub fn is_test(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        let is_named_so = |part: &&str| matches!(part.trim_end_matches(".rs"), "tests" | "fixture");
        let is_devchain = self.path.starts_with("tests/devchain/");
        (parts[0] == "tests" && !is_devchain) || parts[1..].iter().any(is_named_so)
    }

    pub fn refuse(&self, rule: &'static str, line: usize, what: String) -> Refusal {
        Refusal {
            rule,
            path: self.path.clone(),
            line,
            what,
        }
    }
}

fn module(path: &str) -> Vec<String> {
    let Some(inside) = path.strip_prefix("src/") else {
        return Vec::new();
    };
    let mut parts: Vec<String> = inside
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    let last = parts.last().map(String::as_str);
    if last == Some("mod") || (parts.len() == 1 && matches!(last, Some("lib" | "main" | "build"))) {
        parts.pop();
    }
    parts
}

/// All Rust files below `root`, in the order of their paths.
///
/// # Panics
/// When a file cannot be read or is not Rust.
pub fn read_all(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in ["src", "tests"] {
        read_folder(root, folder, &mut sources);
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn read_folder(root: &Path, folder: &str, sources: &mut Vec<Source>) {
    let entries = std::fs::read_dir(root.join(folder)).unwrap();
    for entry in entries {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_folder(root, &path, sources);
        } else if path.ends_with(".rs") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            sources.push(Source::new(&path, &text));
        }
    }
}

/// True for `#[cfg(test)]` and `#[test]`.
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let named = |name| attribute.path().is_ident(name);
        let is_cfg_test = named("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"));
        is_cfg_test || named("test")
    })
}

/// Every path that production code names, as words from the crate's root, with the line: `crate::a::B` in `use` and in
/// passing, `super` and `self` worked out. What tests name is left out.
pub fn paths_named(source: &Source) -> Vec<(Vec<String>, usize)> {
    let mut named = Named {
        inside: source.module.clone(),
        found: Vec::new(),
    };
    named.visit_file(&source.syntax);
    named.found
}

struct Named {
    /// The module that is being read.
    inside: Vec<String>,
    found: Vec<(Vec<String>, usize)>,
}

impl Named {
    fn note(&mut self, words: &[String], line: usize) {
        let mut absolute = match words.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.inside.clone(),
            _ => return,
        };
        for word in words {
            match word.as_str() {
                "crate" | "self" => {}
                "super" => drop(absolute.pop()),
                word => absolute.push(word.to_owned()),
            }
        }
        self.found.push((absolute, line));
    }

    fn note_tree(&mut self, tree: &syn::UseTree, mut before: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(&path.tree, before);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(tree, before.clone());
                }
            }
            syn::UseTree::Name(syn::UseName { ident }) => {
                before.push(ident.to_string());
                self.note(&before, ident.span().start().line);
            }
            syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.note(&before, ident.span().start().line);
            }
            syn::UseTree::Glob(glob) => {
                self.note(&before, glob.star_token.spans[0].start().line);
            }
        }
    }
}

impl Visit<'_> for Named {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        self.inside.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inside.pop();
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.note_tree(&item.tree, Vec::new());
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    /// `pub(super)` names a room, but takes nothing from it.
    fn visit_visibility(&mut self, _: &syn::Visibility) {}

    fn visit_path(&mut self, path: &syn::Path) {
        let words: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if let Some(first) = path.segments.first() {
            self.note(&words, first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_worked_out_from_the_root() {
        let source = Source::new(
            "src/chain/node.rs",
            "use crate::base::{clock::Clock, thread as t};\n\
             use super::types::*;\n\
             mod inner { use super::super::logs::Log; pub(super) fn shown() {} }\n\
             fn f() { crate::chain::parse::number(); std::mem::drop(1); }\n\
             #[cfg(test)] mod tests { use crate::web::api; }\n\
             #[test] fn g() { crate::web::feed(); }",
        );
        let found: Vec<String> = paths_named(&source)
            .iter()
            .map(|(words, line)| format!("{line} {}", words.join("::")))
            .collect();
        assert_eq!(
            found,
            [
                "1 base::clock::Clock",
                "1 base::thread",
                "2 chain::types",
                "3 chain::logs::Log",
                "4 chain::parse::number"
            ]
        );
    }

    #[test]
    fn files_know_their_module() {
        let of = |path| Source::new(path, "").module.join("::");
        assert_eq!(of("src/lib.rs"), "");
        assert_eq!(of("src/chain/mod.rs"), "chain");
        assert_eq!(of("src/chain/types.rs"), "chain::types");
        assert_eq!(of("tests/it/web.rs"), "");
        assert!(Source::new("src/web/api/tests/mod.rs", "").is_test());
        assert!(!Source::new("src/web/api.rs", "").is_test());
    }
}
