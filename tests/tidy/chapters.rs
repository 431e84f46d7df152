//! The README and its chapters: every link between them leads to a file and a heading that are there, and what stands beside
//! the code is a chapter of `cargo doc` as well. What they say is left to who reads them, and to the tests of their tables.

use std::collections::BTreeMap;
use std::path::Path;

use crate::source::{Refusal, Source};

const README: &str = "README.md";

pub fn astray(sources: &[Source]) -> Vec<Refusal> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = BTreeMap::new();
    pages.insert(README.to_owned(), read(root, README));
    for folder in ["src", "tests"] {
        read_folder(root, folder, &mut pages);
    }
    let is_there = |path: &str| root.join(path).exists();
    astray_of(&pages, sources, is_there)
}

fn read(root: &Path, path: &str) -> String {
    std::fs::read_to_string(root.join(path)).expect("it is readable")
}

fn read_folder(root: &Path, folder: &str, pages: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(root.join(folder)).expect("the folder is readable") {
        let entry = entry.expect("the folder is readable");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read_folder(root, &path, pages);
        } else if path.ends_with(".md") {
            pages.insert(path.clone(), read(root, &path));
        }
    }
}

fn astray_of(
    pages: &BTreeMap<String, String>,
    sources: &[Source],
    is_there: impl Fn(&str) -> bool,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (page, text) in pages {
        let mut refuse = |line: usize, what: String| {
            refusals.push(Refusal {
                rule: "chapters",
                path: page.clone(),
                line,
                what,
            });
        };
        for (line, link) in links(text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = beside(page, file);
            let has_heading = |other: &String| headings(other).any(|it| it == heading);
            if page.starts_with("src/") {
                let what = format!("{link}: `cargo doc` would look for it elsewhere: name it only");
                refuse(line, what);
            } else if !pages.contains_key(&target) && !is_there(&target) {
                refuse(line, format!("{link} leads to no file"));
            } else if !heading.is_empty() && !pages.get(&target).is_some_and(has_heading) {
                refuse(line, format!("{link} leads to no heading"));
            }
        }
        if page != README && !links(&pages[README]).any(|(_, link)| link.starts_with(&**page)) {
            refuse(1, "the README does not lead here".to_owned());
        }
        if page.starts_with("src/") && !sources.iter().any(|source| is_told_by(source, page)) {
            let what = "begin a file of this folder with `#![doc = include_str!(...)]` of it";
            refuse(1, what.to_owned());
        }
    }
    refusals
}

/// The links of a page that lead to files of the repository, with the lines that they end on.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let ends = text.match_indices("](");
    ends.filter_map(|(at, sign)| {
        let link = text[at + sign.len()..].split(')').next()?;
        let line = text[..at].matches('\n').count() + 1;
        (!link.contains("://")).then_some((line, link))
    })
}

/// `file` as a page names it, from the repository's root; nothing is the page itself.
fn beside(page: &str, file: &str) -> String {
    if file.is_empty() {
        return page.to_owned();
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The headings of a page as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> + '_ {
    let titles = text.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        title.strip_prefix(' ').filter(|_| line.starts_with('#'))
    });
    titles.map(|title| {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars()
            .filter(|sign| sign.is_alphanumeric() || matches!(sign, '-' | '_'))
            .collect()
    })
}

fn is_told_by(source: &Source, page: &str) -> bool {
    let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let name = page.rsplit('/').next().unwrap_or_default();
    folder(&source.path) == folder(page)
        && source
            .text
            .contains(&format!("#![doc = include_str!(\"{name}\")]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_somewhere_and_chapters_are_told() {
        let refused = |readme: &str, chapter: &str, code: &str| {
            let pages = BTreeMap::from([
                (README.to_owned(), readme.to_owned()),
                ("src/lottery/rules.md".to_owned(), chapter.to_owned()),
            ]);
            let sources = [Source::new("src/lottery/rules.rs", code)];
            let refusals = astray_of(&pages, &sources, |path| path == "tests/x");
            let told = |it: Refusal| format!("{}:{} {}", it.path, it.line, it.what);
            refusals.into_iter().map(told).collect::<Vec<_>>()
        };
        let (chapter, code) = ("# Its rules\n", "#![doc = include_str!(\"rules.md\")]");
        let good = "# A page\n[x](src/lottery/rules.md#its-rules), [y](#a-page), [z](tests/x)";
        assert_eq!(refused(good, chapter, code), [] as [&str; 0]);
        for (readme, chapter, code, found) in [
            (
                "\nno link",
                chapter,
                code,
                "src/lottery/rules.md:1 the README",
            ),
            (
                "\n[x](src/lottery/rules.md#b)",
                chapter,
                code,
                "README.md:2 src",
            ),
            (
                "[x](src/lottery/rules.md) [y](no.md)",
                chapter,
                code,
                "README.md:1 no.md",
            ),
            (
                good,
                "# Its rules\n[x](other.md)",
                code,
                "src/lottery/rules.md:2 other.md",
            ),
            (good, chapter, "fn f() {}", "src/lottery/rules.md:1 begin"),
        ] {
            let refusals = refused(readme, chapter, code);
            assert_eq!(refusals.len(), 1, "{refusals:?}");
            assert!(refusals[0].starts_with(found), "{refusals:?}");
        }
    }
}
