//! The style of the house, as far as it can be checked by reading: which room may import from which, no circles, how long
//! things are, that files say what they are for, that nothing is wider open than it has to be, no sleeps in tests, no
//! twins, that the simulator's faults follow the code, and that the README's links lead somewhere. What is refused is printed with what to write instead.

mod chapters;
mod imports;
mod mutations;
mod shape;
mod source;
mod twins;
mod visibility;

use std::path::Path;

use source::Refusal;

/// What is known not to be tidy yet: the rule, the file or the folder (with its slash), and why. One that is not needed
/// any more is refused as well, so that the list can only shrink.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn the_code_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = source::read_all(root);
    let rules = [
        imports::layers,
        imports::circles,
        shape::long_files,
        shape::long_functions,
        shape::docs,
        shape::sleeps,
        visibility::wide,
        twins::twins,
        mutations::outdated,
        chapters::astray,
    ];
    let refusals: Vec<Refusal> = rules.iter().flat_map(|rule| rule(&sources)).collect();
    let problems = after_exceptions(refusals, EXCEPTIONS);
    assert!(
        problems.is_empty(),
        "{} things are not tidy:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// What is refused and no exception covers, and the exceptions that cover nothing, as lines to print.
fn after_exceptions(refusals: Vec<Refusal>, exceptions: &[(&str, &str, &str)]) -> Vec<String> {
    let covers = |(rule, path, _): &&(&str, &str, &str), refusal: &Refusal| {
        let is_there = match path.ends_with('/') {
            true => refusal.path.starts_with(path),
            false => refusal.path == *path,
        };
        refusal.rule == *rule && is_there
    };
    let idle = exceptions
        .iter()
        .filter(|exception| !refusals.iter().any(|refusal| covers(exception, refusal)))
        .map(|(rule, path, _)| {
            format!("{path}: {rule}: is tidy now: take its exception off the list")
        });
    let open = refusals
        .iter()
        .filter(|refusal| {
            !exceptions
                .iter()
                .any(|exception| covers(&exception, refusal))
        })
        .map(|refusal| {
            format!(
                "{}:{}: {}: {}",
                refusal.path, refusal.line, refusal.rule, refusal.what
            )
        });
    open.chain(idle).collect()
}

#[test]
fn exceptions_cover_one_rule_and_must_be_needed() {
    let refusal = |rule, path: &str| Refusal {
        rule,
        path: path.to_owned(),
        line: 7,
        what: "so and so".to_owned(),
    };
    let refusals = ["src/a.rs", "src/b.rs", "src/x/c.rs"].map(|path| refusal("docs", path));
    let exceptions = [
        ("docs", "src/a.rs", "soon"),
        ("docs", "src/x/", "soon"),
        ("sleeps", "src/a.rs", "soon"),
    ];
    assert_eq!(
        after_exceptions(refusals.to_vec(), &exceptions),
        [
            "src/b.rs:7: docs: so and so",
            "src/a.rs: sleeps: is tidy now: take its exception off the list"
        ]
    );
}
