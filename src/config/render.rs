//! The table of settings as text: for `lottery help settings`, and for the README.

use crate::config::kinds::Form;
use crate::config::table::{Described, Fallback, TABLE};

/// Every setting with its default, what is allowed, and what it means.
pub(crate) fn settings_help() -> String {
    let mut text = String::from(
        "Settings of lottery.conf, a JSON file of sections. Each can also be set by a variable or\n\
         with --set SECTION.KEY=VALUE; a list is comma separated there.\n",
    );
    for setting in TABLE {
        text += &format!(
            "\n{} ({})\n    {}\n    allowed: {}\n    variable: {}\n",
            setting.path(),
            default_of(*setting),
            setting.meaning(),
            allowed_by(*setting),
            setting.variable()
        );
    }
    text
}

/// Every setting as section.key.
pub(crate) fn setting_names() -> Vec<String> {
    TABLE.iter().map(|setting| setting.path()).collect()
}

fn default_of(setting: &dyn Described) -> &'static str {
    match setting.fallback() {
        Fallback::Value(text) | Fallback::Nothing(text) => text,
        Fallback::Required(_) => "required",
    }
}

fn allowed_by(setting: &dyn Described) -> String {
    match setting.form() {
        Form::List => format!("one or a list of: {}", setting.allowed()),
        _ => setting.allowed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the README shows it.
    fn markdown() -> String {
        let mut text = String::from(
            "| section | key | default | allowed | meaning |\n|---|---|---|---|---|\n",
        );
        let mut last_section = "";
        for setting in TABLE {
            let section = match setting.section() == last_section {
                true => "",
                false => setting.section(),
            };
            last_section = setting.section();
            let cells = [
                section,
                setting.key(),
                default_of(*setting),
                &allowed_by(*setting),
                setting.meaning(),
            ];
            let row = format!("| {} |\n", cells.join(" | "));
            text += &row.replace("|  |", "| |");
        }
        text
    }

    #[test]
    fn the_readme_shows_this_very_table() {
        let readme = include_str!("../../README.md");
        let table = markdown();
        assert!(
            readme.contains(&table),
            "the README's table of settings has to be this one:\n{table}"
        );
    }

    #[test]
    fn every_setting_stands_once_and_says_what_it_is() {
        for setting in TABLE {
            let path = setting.path();
            assert!(!setting.meaning().is_empty(), "{path}");
            assert!(
                !setting.allowed().contains('|') && !setting.meaning().contains('|'),
                "{path}"
            );
            let same = TABLE.iter().filter(|other| other.path() == path).count();
            assert_eq!(same, 1, "{path} stands twice");
        }
    }

    #[test]
    fn the_help_names_default_range_and_variable() {
        let help = settings_help();
        let port = "\nserver.port (6080)\n    0 takes a free one\n    allowed: a whole number from 0 to 65535\n    \
                    variable: LOTTERY_SERVER_PORT\n";
        assert!(help.contains(port), "{help}");
        assert_eq!(help.matches("variable: LOTTERY_").count(), TABLE.len());
    }
}
