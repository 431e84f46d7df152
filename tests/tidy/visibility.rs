//! What is `pub` though nobody outside needs it: the compiler looks for dead code only among what cannot be reached from
//! outside. By names alone, so it errs on the side of what is there: a name that is used for two things counts for both.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::source::{is_for_tests, Refusal, Source};

/// Something that declares its own visibility.
struct Item {
    file: usize,
    name: String,
    line: usize,
    sight: Sight,
    /// Names that its signature shows: whoever sees the item has to see these.
    shows: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Sight {
    Public,
    Crate,
}

/// Public items that nothing outside the library names, and items shared within the crate that no other file names.
pub fn wide(sources: &[Source]) -> Vec<Refusal> {
    let names: Vec<BTreeSet<String>> = sources.iter().map(|source| names(&source.text)).collect();
    let mut items = Vec::new();
    let types = public_types(sources);
    for (file, source) in sources.iter().enumerate() {
        if source.is_under_src() && !source.is_test() && source.path != "src/main.rs" {
            let mut declared = Declared {
                file,
                types: &types,
                depth: 0,
                items: Vec::new(),
            };
            declared.visit_file(&source.syntax);
            items.extend(declared.items);
        }
    }
    let outside =
        |file: usize| !sources[file].is_under_src() || sources[file].path == "src/main.rs";
    let used_outside = |item: &Item| {
        (0..sources.len()).any(|file| outside(file) && names[file].contains(&item.name))
    };
    let used_elsewhere = |item: &Item| {
        (0..sources.len()).any(|file| file != item.file && names[file].contains(&item.name))
    };
    let needed = closure(&items, used_outside);
    let shared = closure(&items, used_elsewhere);
    let mut refusals = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let instead = match item.sight {
            Sight::Public if !needed.contains(&index) => {
                "nothing outside the library names it: pub(crate), or less"
            }
            Sight::Crate if !shared.contains(&index) => "no other file names it: private",
            _ => continue,
        };
        refusals.push(sources[item.file].refuse(
            "wide",
            item.line,
            format!("{}: {instead}", item.name),
        ));
    }
    refusals
}

/// The items that are used, and whatever those show.
fn closure(items: &[Item], is_used: impl Fn(&Item) -> bool) -> BTreeSet<usize> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        by_name.entry(&item.name).or_default().push(index);
    }
    let mut closed = BTreeSet::new();
    let mut left: Vec<usize> = (0..items.len())
        .filter(|index| is_used(&items[*index]))
        .collect();
    while let Some(index) = left.pop() {
        if closed.insert(index) {
            let shown = items[index].shows.iter();
            left.extend(
                shown
                    .filter_map(|name| by_name.get(name.as_str()))
                    .flatten(),
            );
        }
    }
    closed
}

/// Every name in a text outside of its comments.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        for name in code.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
            if !name.is_empty() {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// The structs and enums that are public, wherever they stand: their methods may stand in other files.
fn public_types(sources: &[Source]) -> BTreeSet<String> {
    let items = sources.iter().flat_map(|source| &source.syntax.items);
    let types = items.filter_map(|item| match item {
        syn::Item::Struct(item) => Some((&item.ident, &item.vis)),
        syn::Item::Enum(item) => Some((&item.ident, &item.vis)),
        _ => None,
    });
    types
        .filter(|(_, visibility)| matches!(visibility, syn::Visibility::Public(_)))
        .map(|(ident, _)| ident.to_string())
        .collect()
}

struct Declared<'a> {
    file: usize,
    types: &'a BTreeSet<String>,
    /// How many modules within the file are around: what they share, they share with the rest of the file too.
    depth: usize,
    items: Vec<Item>,
}

impl Declared<'_> {
    fn note(&mut self, ident: &syn::Ident, visibility: &syn::Visibility, shows: BTreeSet<String>) {
        let sight = match visibility {
            syn::Visibility::Public(_) => Sight::Public,
            syn::Visibility::Restricted(_) if self.depth == 0 => Sight::Crate,
            syn::Visibility::Restricted(_) | syn::Visibility::Inherited => return,
        };
        self.items.push(Item {
            file: self.file,
            name: ident.to_string(),
            line: ident.span().start().line,
            sight,
            shows,
        });
    }
}

/// The names in a piece of syntax.
struct Shown(BTreeSet<String>);

impl Visit<'_> for Shown {
    fn visit_ident(&mut self, ident: &syn::Ident) {
        self.0.insert(ident.to_string());
    }
}

fn shown(look: impl FnOnce(&mut Shown)) -> BTreeSet<String> {
    let mut shown = Shown(BTreeSet::new());
    look(&mut shown);
    shown.0
}

impl Visit<'_> for Declared<'_> {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            self.depth += 1;
            visit::visit_item_mod(self, item);
            self.depth -= 1;
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            self.note(
                &item.sig.ident,
                &item.vis,
                shown(|shown| shown.visit_signature(&item.sig)),
            );
        }
    }

    fn visit_item_struct(&mut self, item: &syn::ItemStruct) {
        let open = |field: &&syn::Field| !matches!(field.vis, syn::Visibility::Inherited);
        let shows = shown(|shown| {
            shown.visit_generics(&item.generics);
            item.fields
                .iter()
                .filter(open)
                .for_each(|field| shown.visit_type(&field.ty));
        });
        self.note(&item.ident, &item.vis, shows);
    }

    fn visit_item_enum(&mut self, item: &syn::ItemEnum) {
        let shows = shown(|shown| shown.visit_item_enum(item));
        self.note(&item.ident, &item.vis, shows);
    }

    fn visit_item_trait(&mut self, item: &syn::ItemTrait) {
        let shows = shown(|shown| shown.visit_item_trait(item));
        self.note(&item.ident, &item.vis, shows);
    }

    fn visit_item_type(&mut self, item: &syn::ItemType) {
        let shows = shown(|shown| shown.visit_type(&item.ty));
        self.note(&item.ident, &item.vis, shows);
    }

    fn visit_item_const(&mut self, item: &syn::ItemConst) {
        let shows = shown(|shown| shown.visit_type(&item.ty));
        self.note(&item.ident, &item.vis, shows);
    }

    fn visit_item_static(&mut self, item: &syn::ItemStatic) {
        let shows = shown(|shown| shown.visit_type(&item.ty));
        self.note(&item.ident, &item.vis, shows);
    }

    /// Of types that are public themselves: the compiler knows about the rest.
    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        let syn::Type::Path(of) = &*item.self_ty else {
            return;
        };
        let Some(of) = of.path.segments.last().map(|last| last.ident.to_string()) else {
            return;
        };
        if item.trait_.is_some() || is_for_tests(&item.attrs) || !self.types.contains(&of) {
            return;
        }
        for part in &item.items {
            if let syn::ImplItem::Fn(function) = part {
                let mut shows = shown(|shown| shown.visit_signature(&function.sig));
                shows.insert(of.clone());
                self.note(&function.sig.ident, &function.vis, shows);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        let refusals = wide(&sources);
        let name = |refusal: &Refusal| refusal.what.split(':').next().unwrap().to_owned();
        refusals.iter().map(name).collect()
    }

    #[test]
    fn what_nobody_outside_names_is_found() {
        let library = "pub fn used() {}\npub fn unused() {}\npub struct Shown;\npub struct Hidden { pub part: u8 }\n\
                       impl Shown { pub fn method(&self) {} }\npub fn show() -> Shown { Shown }";
        assert_eq!(
            refused(&[
                ("src/a.rs", library),
                (
                    "tests/it/a.rs",
                    "fn f() { used(); show(); } // unused Hidden"
                ),
            ]),
            ["unused", "Hidden", "method"]
        );
        assert_eq!(
            refused(&[
                ("src/a.rs", "pub fn run() {}"),
                ("src/main.rs", "fn main() { run() }")
            ]),
            [""; 0]
        );
    }

    #[test]
    fn what_no_other_file_names_is_private() {
        let library = "pub(crate) fn used() {}\npub(crate) fn own() {}\npub(super) const SHOWN: Shape = Shape;\npub(crate) struct Shape;";
        assert_eq!(
            refused(&[
                ("src/a.rs", library),
                ("src/b.rs", "fn f() { used(); SHOWN; }")
            ]),
            ["own"]
        );
    }

    #[test]
    fn what_only_tests_have_is_left_alone() {
        let library = "#[cfg(test)] mod tests { pub fn f() {} }\n#[cfg(test)] pub fn g() {}";
        assert_eq!(refused(&[("src/a.rs", library)]), [""; 0]);
    }
}
