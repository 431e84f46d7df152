//! The table of faults that `tests/sim/mutate` builds into the code: each replaces a text that stands exactly once in its
//! file, the simulator's chapter has one row of each and no other, and the rows that the README shows are its. What becomes of a
//! fault is left to the simulator.

use std::path::Path;

use serde::Deserialize;

use crate::source::{Refusal, Source};

const TABLE: &str = "tests/sim/mutations.json";
const CHAPTER: &str = "tests/sim/README.md";
const README: &str = "README.md";
const HEADING: &str = "| rule that is broken | in |";

#[derive(Deserialize)]
struct Mutation {
    file: String,
    rule: String,
    stands: String,
}

impl Mutation {
    /// How its row of the chapter begins.
    fn row(&self) -> String {
        let file = Path::new(&self.file).file_stem().unwrap_or_default();
        format!("| {} | {} |", self.rule, file.display())
    }
}

pub fn outdated(sources: &[Source]) -> Vec<Refusal> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |name: &str| std::fs::read_to_string(root.join(name)).expect("it is readable");
    let mutations: Vec<Mutation> = serde_json::from_str(&text(TABLE)).expect("a table of faults");
    outdated_of(&mutations, sources, &text(CHAPTER), &text(README))
}

fn outdated_of(
    mutations: &[Mutation],
    sources: &[Source],
    chapter: &str,
    readme: &str,
) -> Vec<Refusal> {
    let refuse = |path: &str, what: String| Refusal {
        rule: "mutations",
        path: path.to_owned(),
        line: 1,
        what,
    };
    let (mut refusals, mut expected) = (Vec::new(), Vec::new());
    for mutation in mutations {
        let Mutation { file, rule, stands } = mutation;
        let source = sources.iter().find(|source| source.path == *file);
        let count = source.map_or(0, |source| source.text.matches(stands).count());
        if count != 1 {
            let what = format!(
                "{rule:?}: what it replaces stands {count} times in {file}: let it follow the code"
            );
            refusals.push(refuse(TABLE, what));
        }
        expected.push(mutation.row());
    }
    let rows = rows(chapter);
    for row in &expected {
        if !rows.iter().any(|it| it.starts_with(row)) {
            refusals.push(refuse(CHAPTER, format!("the row {row:?} is missing")));
        }
    }
    for row in &rows {
        if !expected.iter().any(|it| row.starts_with(it)) {
            let what = format!("{row:?} is no fault of {TABLE}: take the row off");
            refusals.push(refuse(CHAPTER, what));
        }
    }
    for row in self::rows(readme) {
        if !rows.contains(&row) {
            let what = format!("{row:?} is no row of {CHAPTER}: let it follow");
            refusals.push(refuse(README, what));
        }
    }
    refusals
}

/// The rows of the table of faults that a text shows.
fn rows(text: &str) -> Vec<&str> {
    let rows = text.lines().skip_while(|line| !line.starts_with(HEADING));
    // The line below the heading draws its rule.
    rows.skip(2).take_while(|it| it.starts_with('|')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stands_once_in_the_code_and_has_its_row() {
        let sources = [Source::new("src/a.rs", "fn f() { one(); two(); two(); }")];
        let table = |rounds: u64| {
            format!("{HEADING} rounds |\n|---|---|---|\n| a rule | a | {rounds} |\n\n| x | y |\n")
        };
        let refused = |file: &str, rule: &str, stands: &str| {
            let mutation = Mutation {
                file: file.to_owned(),
                rule: rule.to_owned(),
                stands: stands.to_owned(),
            };
            let refusals = outdated_of(&[mutation], &sources, &table(7), &table(7));
            let in_table = |it: &&Refusal| it.path == TABLE;
            let of_table = refusals.iter().filter(in_table).count();
            (of_table, refusals.len() - of_table)
        };
        assert_eq!(refused("src/a.rs", "a rule", "one();"), (0, 0));
        for stands in ["two();", "three();"] {
            assert_eq!(refused("src/a.rs", "a rule", stands), (1, 0), "{stands}");
        }
        // Another row is expected, and the one that stands there is of no fault.
        assert_eq!(refused("src/b.rs", "a rule", "one();"), (1, 2));
        assert_eq!(refused("src/a.rs", "another rule", "one();"), (0, 2));
        // The README shows what the chapter says, or nothing.
        let shown = |readme: &str| outdated_of(&[], &sources, HEADING, readme).len();
        assert_eq!((shown(""), shown(&table(8))), (0, 1));
    }
}
