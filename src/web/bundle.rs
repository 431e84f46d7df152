//! The page's files as they are served, made when the binary is: the script as one file of all modules under www/, so that
//! the first paint costs three requests: each module becomes a function that is called once, its imports and exports become
//! names of the others. Comments and spaces stay behind. This file is part of the build script.

use std::fmt::Write;
use std::io;
use std::path::Path;

/// In an order in which each imports only from those before it.
pub(crate) const MODULES: &[&str] = &[
    "dom.js",
    "format.js",
    "keccak.js",
    "abi.js",
    "check.js",
    "api.js",
    "clock.js",
    "links.js",
    "badges.js",
    "state.js",
    "round.js",
    "strip.js",
    "feed.js",
    "wallet.js",
    "track.js",
    "witness.js",
    "hero.js",
    "bet.js",
    "details.js",
    "players.js",
    "history.js",
    "live.js",
    "fairness.js",
    "terms.js",
    "operator.js",
    "app.js",
];

/// The files of the page with their names, of what lies in `folder`.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let text = |name: &str| std::fs::read_to_string(folder.join(name));
    let mut modules = Vec::new();
    for name in MODULES {
        modules.push((*name, text(name)?));
    }
    let template = without_comments(&text("index.html")?, &[]);
    Ok(vec![
        ("index.html", template.into_bytes()),
        ("style.css", sheet(&text("style.css")?).into_bytes()),
        ("app.js", script(&modules).into_bytes()),
        ("favicon.ico", std::fs::read(folder.join("favicon.ico"))?),
        ("robots.txt", std::fs::read(folder.join("robots.txt"))?),
    ])
}

fn sheet(source: &str) -> String {
    let sheet = without_comments(source, &[("/*", "*/")]);
    // In our sheet no text holds these, so that only spaces are lost.
    let spaced = [" { ", "; ", ": ", ", ", ";\n", "{\n", "}\n", " > "];
    tightened(&sheet, &spaced).replace(";}", "}")
}

/// One script of all modules: each a function that is called once and answers what it exports.
fn script(modules: &[(&str, String)]) -> String {
    let mut script = String::from("let m={};\n");
    for (name, source) in modules {
        let (mut body, mut exports) = (String::new(), Vec::new());
        let bare = without_comments(source, &[("/**", "*/")]);
        for line in bare.lines() {
            if let Some((names, from)) = imports(line) {
                let names = tightened(names, SIGNS);
                let _ = write!(body, "let{names}=m[\"{from}\"];");
                continue;
            }
            let declared = line.strip_prefix("export ").unwrap_or(line);
            if declared != line {
                exports.extend(declared_name(declared));
            }
            let short = with_let(declared);
            let tight = tightened_outside_texts(&short);
            push_line(&mut body, &tight.unwrap_or(short));
        }
        let exports = exports.join(",");
        let _ = writeln!(
            script,
            "m[\"{name}\"]=(()=>{{{body}return{{{exports}}}}})();"
        );
    }
    script
}

/// Shorter. A constant of ours is declared at the beginning of a line or of a loop, so that no text is touched.
fn with_let(line: &str) -> String {
    let line = line.replace("for (const ", "for (let ");
    match line.strip_prefix("const ") {
        Some(rest) => format!("let {rest}"),
        None => line,
    }
}

/// The end of the line before stays only where it may say something: every statement of ours ends with its own sign, which
/// the last of a block can do without.
fn push_line(body: &mut String, line: &str) {
    if body.ends_with(';') && line.starts_with('}') {
        body.pop();
    }
    if body.ends_with('\n') && line.starts_with(['}', ')', ']', '.', '?', ':']) {
        body.pop();
    }
    body.push_str(line);
    if !body.ends_with([';', '{', '}', ',', '(', '[']) {
        body.push('\n');
    }
}

/// `import { a, b } from "./c.js";` as its names and its file.
pub(crate) fn imports(line: &str) -> Option<(&str, &str)> {
    let (names, from) = line.strip_prefix("import ")?.split_once(" from \"./")?;
    Some((names, from.strip_suffix("\";")?))
}

/// The name that follows const, function or class.
pub(crate) fn declared_name(declaration: &str) -> Option<&str> {
    let rest = declaration.strip_prefix("async ").unwrap_or(declaration);
    let (_, rest) = rest.split_once(' ')?;
    rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .next()
}

const SIGNS: &[&str] = &[
    " / ", ", ", " = ", " => ", " === ", " !== ", " { ", " }", "{ ", " ? ", " : ", ": ", " && ",
    " || ", ") ", " < ", " > ", " >= ", " <= ", " * ", " % ", " + ", " - ", " += ", " -= ", " ?? ",
    "; ", "if (", "for (", "while (", "async (", "} else", "else {", "let [", "return {",
    "return [", "return (",
];

/// The line without the spaces around signs, which say nothing outside of texts; None where a slash may begin a pattern,
/// or where texts may lie in each other.
fn tightened_outside_texts(line: &str) -> Option<String> {
    let mut tight = String::with_capacity(line.len());
    let mut rest = line;
    loop {
        let at = rest.find(['"', '\'', '`']).unwrap_or(rest.len());
        let (code, text) = rest.split_at(at);
        if !code.match_indices('/').all(|(at, _)| is_division(code, at)) {
            return None;
        }
        tight.push_str(&tightened(code, SIGNS).replace(";}", "}"));
        if text.is_empty() {
            return Some(tight);
        }
        let end = text_len(text).filter(|end| is_whole(&text[..*end]))?;
        tight.push_str(&text[..end]);
        rest = &text[end..];
    }
}

/// Whether the slash there divides: it stands between spaces, and after a value.
fn is_division(code: &str, at: usize) -> bool {
    let is_end = |sign: char| sign.is_alphanumeric() || matches!(sign, ')' | ']');
    let before = code[..at].strip_suffix(' ');
    before.is_some_and(|before| before.ends_with(is_end) && !before.ends_with("return"))
        && code[at + 1..].starts_with(' ')
}

/// Whether every `${` of a text is closed in it: else the quote that seemed to end it begins another inside.
fn is_whole(text: &str) -> bool {
    let mut depth = 0;
    let mut before = ' ';
    for letter in text.chars() {
        match letter {
            '{' if depth > 0 || before == '$' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            _ => {}
        }
        before = letter;
    }
    depth == 0
}

/// The length of the text that begins with its own quote; None where it does not end.
fn text_len(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            letter if letter == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn tightened(text: &str, spaced: &[&str]) -> String {
    spaced.iter().fold(text.to_owned(), |text, spaced| {
        text.replace(spaced, &spaced.replace([' ', '\n'], ""))
    })
}

/// Without indentation, empty lines, and comments that have lines of their own: the files are written so.
fn without_comments(source: &str, blocks: &[(&str, &str)]) -> String {
    let mut kept = String::with_capacity(source.len());
    let mut until: Option<&str> = None;
    for line in source.lines().map(str::trim) {
        if let Some(end) = until {
            until = (!line.ends_with(end)).then_some(end);
            continue;
        }
        let block = blocks.iter().find(|(begin, _)| line.starts_with(begin));
        if let Some((_, end)) = block {
            until = (!line.ends_with(end)).then_some(end);
        } else if !line.is_empty() && !line.starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_becomes_a_function_that_answers_what_it_exports() {
        let source = "// About it.\nimport { a } from \"./b.js\";\n\n/** Doc. */\nexport async function c() {\n  return a;\n}\n\
                      export const d = 1;\n";
        assert_eq!(
            script(&[("e.js", source.to_owned())]),
            "let m={};\nm[\"e.js\"]=(()=>{let{a}=m[\"b.js\"];async function c(){return a}let d=1;return{c,d}})();\n"
        );
    }

    #[test]
    fn spaces_go_from_code_and_never_from_texts_or_patterns() {
        for (line, tight) in [
            ("if (a === b) return c ? d : e;", "if(a===b)return c?d:e;"),
            ("const a = \"b = c\" + d, e;", "const a=\"b = c\"+d,e;"),
            (
                "say(`${a ? \"x, y\" : z}`, { b: \"it's, c\" });",
                "say(`${a ? \"x, y\" : z}`,{b:\"it's, c\"});",
            ),
            ("f(\"\\\", \", a, b)", "f(\"\\\", \",a,b)"),
            ("f(`${a}, `, (b) / 2 / c);", "f(`${a}, `,(b)/2/c);"),
            (
                "f(`${{ a }.a}, ${b}`, `, `);",
                "f(`${{ a }.a}, ${b}`,`, `);",
            ),
        ] {
            assert_eq!(tightened_outside_texts(line).as_deref(), Some(tight));
        }
        for line in [
            "const a = /, /;",
            "`a${b ? `, c` : \"\"}`;",
            "`} ${b ? `, c` : \"\"}`;",
            "return / , /.test(a);",
            "const a = \"b, c;",
        ] {
            assert_eq!(tightened_outside_texts(line), None, "{line}");
        }
    }
}
