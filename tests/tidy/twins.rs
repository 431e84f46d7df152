//! Stretches of code that stand in two places, which sooner or later are mended in one of them only.

use std::collections::HashMap;

use crate::source::{Refusal, Source};

/// From so many lines on a stretch is a twin. Blank lines, comments, imports and lines of mere brackets do not count.
const LINES_MIN: usize = 8;

pub fn twins(sources: &[Source]) -> Vec<Refusal> {
    let files: Vec<Vec<(usize, String)>> = sources.iter().map(significant).collect();
    let mut seen: HashMap<Vec<&str>, (usize, usize)> = HashMap::new();
    let mut refusals = Vec::new();
    for (file, lines) in files.iter().enumerate() {
        // As far as a stretch that was already told reaches.
        let mut told_until = 0;
        for start in 0..(lines.len() + 1).saturating_sub(LINES_MIN) {
            let window = &lines[start..start + LINES_MIN];
            let words: Vec<&str> = window.iter().map(|(_, line)| line.as_str()).collect();
            let Some((other_file, other_start)) = seen.get(&words).copied() else {
                seen.insert(words, (file, start));
                continue;
            };
            let overlaps = other_file == file && other_start + LINES_MIN > start;
            if start < told_until || overlaps {
                continue;
            }
            let same = lines[start..]
                .iter()
                .zip(&files[other_file][other_start..])
                .take_while(|((_, own), (_, other))| own == other)
                .count();
            told_until = start + same;
            refusals.push(sources[file].refuse(
                "twins",
                window[0].0,
                format!(
                    "{same} lines as from {}:{} on: make them one function (for tests: in tests/support)",
                    sources[other_file].path, files[other_file][other_start].0
                ),
            ));
        }
    }
    refusals
}

/// Lines that say something, with their numbers, without the space around them.
fn significant(source: &Source) -> Vec<(usize, String)> {
    let mut in_import = false;
    let mut lines = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let line = line.trim();
        in_import |= line.starts_with("use ") || line.starts_with("pub use ");
        let says_something = line.chars().any(char::is_alphanumeric);
        if says_something && !in_import && !line.starts_with("//") {
            lines.push((index + 1, line.to_owned()));
        }
        in_import &= !line.ends_with(';');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, lines: usize) -> String {
        let body: String = (0..lines)
            .map(|line| format!("    let x{line} = {line};\n\n"))
            .collect();
        format!("fn {name}() {{\n{body}}}\n")
    }

    #[test]
    fn a_twin_of_eight_lines_is_found_once() {
        let sources = |lines| {
            [
                Source::new("src/a.rs", &text("a", lines)),
                Source::new(
                    "src/b.rs",
                    &text("b", lines)
                        .replace("    let", "let")
                        .replace("x3 = 3;", "x3 = 3;\n// why\n"),
                ),
            ]
        };
        assert_eq!(twins(&sources(7)), []);
        for lines in [8, 20] {
            let found = twins(&sources(lines));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0]
                    .what
                    .starts_with(&format!("{lines} lines as from src/a.rs:2")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn twins_within_a_file_are_found_and_imports_are_none() {
        let both = text("a", 9) + &text("b", 9);
        assert_eq!(twins(&[Source::new("src/a.rs", &both)]).len(), 1);
        let imports: String = (0..12).map(|n| format!("use crate::a{n};\n")).collect();
        let of = |path| Source::new(path, &imports);
        assert_eq!(twins(&[of("src/a.rs"), of("src/b.rs")]), []);
    }
}
