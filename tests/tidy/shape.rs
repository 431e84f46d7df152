//! How long files and functions are, that every file says what it is for, and that tests wait for events.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::source::{is_for_tests, Refusal, Source};

const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;
/// Less than this is no sentence that says what a file does and what it leaves to others.
const DOC_CHARS_MIN: usize = 30;

pub fn long_files(sources: &[Source]) -> Vec<Refusal> {
    let too_long = |source: &Source| {
        let lines = source.text.lines().count();
        let most = match source.is_test() {
            true => TEST_FILE_LINES_MAX,
            false => FILE_LINES_MAX,
        };
        (lines > most).then(|| {
            let what =
                format!("{lines} lines, {most} are allowed: cut it by what its parts are about");
            source.refuse("long files", lines, what)
        })
    };
    sources.iter().filter_map(too_long).collect()
}

pub fn docs(sources: &[Source]) -> Vec<Refusal> {
    let undocumented = |source: &Source| {
        let lines = source.text.lines();
        let doc: Vec<&str> = lines.map_while(|line| line.strip_prefix("//!")).collect();
        let paragraph = doc
            .iter()
            .map(|line| line.trim())
            .take_while(|line| !line.is_empty());
        let paragraph = paragraph.collect::<Vec<_>>().join(" ");
        let is_sentence = paragraph.ends_with(['.', ':']) && paragraph.len() >= DOC_CHARS_MIN;
        (!is_sentence).then(|| {
            let what =
                "begin with a `//!` paragraph: what the file does, and what it leaves to others";
            source.refuse("docs", 1, what.to_owned())
        })
    };
    sources.iter().filter_map(undocumented).collect()
}

pub fn long_functions(sources: &[Source]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for source in sources {
        let mut functions = Functions::default();
        functions.visit_file(&source.syntax);
        for (name, first, last) in functions.found {
            let listed = functions
                .lists
                .iter()
                .filter(|list| first <= list.0 && list.1 <= last);
            let lines = last - first + 1 - listed.map(|list| list.1 - list.0).sum::<usize>();
            if lines > FUNCTION_LINES_MAX {
                refusals.push(source.refuse(
                    "long functions",
                    first,
                    format!("{name} has {lines} lines, {FUNCTION_LINES_MAX} are allowed: cut it into steps that have names"),
                ));
            }
        }
    }
    refusals
}

/// Functions with the lines that they take. The lines inside of a list are left out: a table of cases is data.
#[derive(Default)]
struct Functions {
    found: Vec<(String, usize, usize)>,
    /// First and last line of each list that is not part of another.
    lists: Vec<(usize, usize)>,
}

impl Functions {
    fn note_list(&mut self, span: Span) {
        let list = (span.start().line, span.end().line);
        let is_inside = |other: &(usize, usize)| other.0 <= list.0 && list.1 <= other.1;
        if !self.lists.iter().any(is_inside) {
            self.lists.push(list);
        }
    }

    fn note(&mut self, signature: &syn::Signature, block: Span) {
        self.found.push((
            signature.ident.to_string(),
            signature.span().start().line,
            block.end().line,
        ));
    }
}

impl Visit<'_> for Functions {
    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.note(&item.sig, item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        self.note(&item.sig, item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.note(&item.sig, block.span());
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_array(&mut self, array: &syn::ExprArray) {
        self.note_list(array.span());
        visit::visit_expr_array(self, array);
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        if item.path.is_ident("vec") || item.path.is_ident("json") {
            self.note_list(item.span());
        }
    }
}

/// Sleeps in tests: a test that waits for a while is slow where the while is too long and fails where it is too short.
pub fn sleeps(sources: &[Source]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for source in sources {
        let mut sleeps = Sleeps {
            in_tests: source.is_test(),
            lines: Vec::new(),
        };
        sleeps.visit_file(&source.syntax);
        refusals.extend(sleeps.lines.into_iter().map(|line| {
            let what = "a sleep in a test: wait for the event (wait_for, wait_log, a channel) or move a manual clock";
            source.refuse("sleeps", line, what.to_owned())
        }));
    }
    refusals
}

struct Sleeps {
    in_tests: bool,
    lines: Vec<usize>,
}

impl Sleeps {
    fn within(&mut self, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Sleeps)) {
        let before = self.in_tests;
        self.in_tests |= is_for_tests(attributes);
        visit(self);
        self.in_tests = before;
    }
}

impl Visit<'_> for Sleeps {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.within(&item.attrs, |sleeps| visit::visit_item_mod(sleeps, item));
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.within(&item.attrs, |sleeps| visit::visit_item_fn(sleeps, item));
    }

    fn visit_expr_call(&mut self, call: &syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func {
            let last = function.path.segments.last();
            if self.in_tests && last.is_some_and(|last| last.ident == "sleep") {
                self.lines.push(call.span().start().line);
            }
        }
        visit::visit_expr_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(refusals: &[Refusal]) -> Vec<usize> {
        refusals.iter().map(|refusal| refusal.line).collect()
    }

    #[test]
    fn long_files_are_found_and_tests_may_be_longer() {
        let of = |path, lines: usize| long_files(&[Source::new(path, &"\n".repeat(lines))]).len();
        assert_eq!(of("src/base/clock.rs", 500), 0);
        assert_eq!(of("src/base/clock.rs", 501), 1);
        assert_eq!(of("src/base/clock/tests.rs", 700), 0);
        assert_eq!(of("tests/it/web.rs", 701), 1);
    }

    #[test]
    fn long_functions_are_found_wherever_they_are() {
        let body = "\n".repeat(68);
        let just = format!("fn f() {{\n{body}}}");
        assert_eq!(long_functions(&[Source::new("src/a.rs", &just)]), []);
        for (before, after) in [
            ("", ""),
            ("impl T {", "}"),
            ("trait T {", "}"),
            ("mod m {", "}"),
        ] {
            let text = format!("{before}\n/// Words.\n#[inline]\nfn f() {{\n\n{body}}}\n{after}");
            assert_eq!(
                lines(&long_functions(&[Source::new("src/a.rs", &text)])),
                [4],
                "{before}"
            );
        }
    }

    #[test]
    fn a_table_is_one_line_of_its_function() {
        let rows = "1,\n".repeat(100);
        for table in [
            format!("[{rows}]"),
            format!("vec![{rows}]"),
            format!("[[{rows}],\n[2]]"),
        ] {
            let of = |code: usize| {
                let text = format!("fn f() {{\nlet t = {table};\n{}}}", "\n".repeat(code));
                long_functions(&[Source::new("src/a.rs", &text)]).len()
            };
            assert_eq!((of(67), of(68)), (0, 1));
        }
    }

    #[test]
    fn a_file_without_a_paragraph_is_found() {
        let of = |text| docs(&[Source::new("src/a.rs", text)]).len();
        let good = "//! Prices as decimal text, each way, without a float in between.\n//! More of it.\n\nfn f() {}";
        assert_eq!(of(good), 0);
        assert_eq!(of("fn f() {}"), 1);
        assert_eq!(of("//! Prices.\n"), 1);
        assert_eq!(of("//! Prices as decimal text, each way, without a float in between and so on and on\n"), 1);
        assert_eq!(
            of("// no doc\n//! Prices as decimal text, each way, without a float in between.\n"),
            1
        );
    }

    #[test]
    fn sleeps_are_found_in_tests_alone() {
        let text = "fn f() { std::thread::sleep(d); }\n\
                    #[cfg(test)] mod tests {\n fn g() {\n thread::sleep(d);\n } }";
        assert_eq!(lines(&sleeps(&[Source::new("src/a.rs", text)])), [4]);
        assert_eq!(
            lines(&sleeps(&[Source::new("tests/it/a.rs", text)])),
            [1, 4]
        );
    }
}
