//! Who may import from whom: rooms only from the rooms before them, and no two files from each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{paths_named, Refusal, Source};

/// The rooms in their order; a file imports only from its own and from those before it.
const ROOMS: [&str; 8] = [
    "base", "chain", "lottery", "config", "actors", "web", "app", "commands",
];

pub fn layers(sources: &[Source]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for source in sources.iter().filter(|source| is_production(source)) {
        let Some(own) = source.module.first() else {
            continue;
        };
        let Some(own_rank) = rank(own) else {
            refusals.push(source.refuse(
                "layers",
                1,
                format!("{own} is no room: name one of {}", ROOMS.join(", ")),
            ));
            continue;
        };
        for (words, line) in paths_named(source) {
            let Some(other) = words.first().filter(|_| words.len() > 1) else {
                continue;
            };
            if rank(other).is_some_and(|rank| rank > own_rank) {
                refusals.push(source.refuse(
                    "layers",
                    line,
                    format!(
                        "{own} imports {}: move what it needs down into {own} or a room before it, or have it handed in",
                        words.join("::")
                    ),
                ));
            }
        }
    }
    refusals
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room)
}

fn is_production(source: &Source) -> bool {
    source.is_under_src() && !source.is_test()
}

/// One refusal for each set of files that import each other, directly or around.
pub fn circles(sources: &[Source]) -> Vec<Refusal> {
    let files: Vec<&Source> = sources
        .iter()
        .filter(|source| is_production(source) && !source.module.is_empty())
        .collect();
    let by_module: BTreeMap<&[String], usize> = files
        .iter()
        .enumerate()
        .map(|(index, source)| (source.module.as_slice(), index))
        .collect();
    let imports: Vec<BTreeSet<usize>> = files
        .iter()
        .enumerate()
        .map(|(index, source)| {
            let named = paths_named(source);
            let mut found: BTreeSet<usize> = named
                .iter()
                .filter_map(|(words, _)| file_of(words, &by_module))
                .collect();
            found.remove(&index);
            found
        })
        .collect();
    let reached: Vec<BTreeSet<usize>> = (0..files.len())
        .map(|from| reached_from(from, &imports))
        .collect();
    let mut told = BTreeSet::new();
    let mut refusals = Vec::new();
    for (index, source) in files.iter().enumerate() {
        if !reached[index].contains(&index) || !told.insert(index) {
            continue;
        }
        let others = reached[index]
            .iter()
            .filter(|other| **other != index && reached[**other].contains(&index));
        let others: Vec<usize> = others.copied().collect();
        let names: Vec<&str> = others.iter().map(|other| &*files[*other].path).collect();
        told.extend(others);
        refusals.push(source.refuse(
            "circles",
            1,
            format!(
                "in a circle of imports with {}: move what they share into a file that imports none of them",
                names.join(", ")
            ),
        ));
    }
    refusals
}

/// The file that defines the longest beginning of these words.
fn file_of(words: &[String], by_module: &BTreeMap<&[String], usize>) -> Option<usize> {
    (1..=words.len())
        .rev()
        .find_map(|length| by_module.get(&words[..length]).copied())
}

fn reached_from(from: usize, imports: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<usize> = imports[from].iter().copied().collect();
    while let Some(next) = left.pop() {
        if reached.insert(next) {
            left.extend(&imports[next]);
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(refusals: &[Refusal]) -> Vec<String> {
        refusals
            .iter()
            .map(|refusal| format!("{}:{}", refusal.path, refusal.line))
            .collect()
    }

    #[test]
    fn an_import_from_a_later_room_is_refused() {
        let sources = [
            Source::new(
                "src/chain/node.rs",
                "use crate::base::clock::Clock;\nuse crate::lottery::round::Round;",
            ),
            Source::new("src/web/api.rs", "use crate::chain::node::Node;"),
            Source::new("src/web/feed.rs", "fn f() {\n crate::app::start();\n}"),
            Source::new("src/lib.rs", "pub use crate::app::Daemon;"),
            Source::new("src/cellar/wine.rs", ""),
        ];
        assert_eq!(
            lines(&layers(&sources)),
            [
                "src/chain/node.rs:2",
                "src/web/feed.rs:2",
                "src/cellar/wine.rs:1"
            ]
        );
    }

    #[test]
    fn tests_may_import_from_anywhere() {
        let sources = [
            Source::new(
                "src/chain/node.rs",
                "#[cfg(test)] mod tests { use crate::web::api::Api; }",
            ),
            Source::new("src/chain/node/tests.rs", "use crate::web::api::Api;"),
        ];
        assert_eq!(layers(&sources), []);
    }

    #[test]
    fn files_that_import_each_other_are_refused_however_long_the_way() {
        let sources = [
            Source::new("src/chain/a.rs", "use crate::chain::b::B;"),
            Source::new("src/chain/b.rs", "use super::c::C;"),
            Source::new("src/chain/c.rs", "fn f() { crate::chain::a::f(); }"),
            Source::new("src/chain/d.rs", "use crate::chain::a::A;"),
        ];
        let refusals = circles(&sources);
        assert_eq!(lines(&refusals), ["src/chain/a.rs:1"]);
        assert!(refusals[0].what.contains("src/chain/b.rs, src/chain/c.rs"));
        assert_eq!(circles(&sources[1..]), []);
    }

    #[test]
    fn a_part_that_imports_its_whole_is_a_circle_too() {
        let sources = [
            Source::new(
                "src/actors/operator.rs",
                "mod flight; use flight::Flight; use self::flight::Flight as F;",
            ),
            Source::new("src/actors/operator/flight.rs", "use super::Operator;"),
        ];
        assert_eq!(lines(&circles(&sources)), ["src/actors/operator.rs:1"]);
    }
}
