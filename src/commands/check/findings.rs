//! What a check found: one line each, with how bad it is and what to do about it.

use std::fmt::Display;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it must be.
    Good,
    /// Worth knowing, but neither right nor wrong.
    Plain,
    /// A draw can do without, at a cost.
    Costs,
    /// It would stop a draw or a refund.
    Bad,
}

impl Verdict {
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Plain => "",
            Verdict::Costs => "warn",
            Verdict::Bad => "NO",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Plain => "info",
            Verdict::Costs => "warning",
            Verdict::Bad => "failed",
        }
    }

    /// None for what is neither right nor wrong.
    pub fn passed(self) -> Option<bool> {
        match self {
            Verdict::Good => Some(true),
            Verdict::Plain | Verdict::Costs => None,
            Verdict::Bad => Some(false),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The endpoint's host, or what else was looked at.
    pub subject: String,
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// The way out, or what it costs to live with it.
    pub advice: Option<String>,
}

/// The findings on one subject.
pub(crate) struct Findings {
    subject: String,
    pub list: Vec<Finding>,
}

impl Findings {
    pub fn of(subject: &str) -> Findings {
        Findings {
            subject: subject.to_owned(),
            list: Vec::new(),
        }
    }

    pub fn good(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Verdict::Good, found.into(), None);
    }

    pub fn plain(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Verdict::Plain, found.into(), None);
    }

    pub fn costs(&mut self, check: &'static str, found: impl Into<String>, cost: &str) {
        self.add(check, Verdict::Costs, found.into(), Some(cost.to_owned()));
    }

    pub fn bad(&mut self, check: &'static str, found: impl Into<String>, way_out: &str) {
        self.add(check, Verdict::Bad, found.into(), Some(way_out.to_owned()));
    }

    /// The answer to a question that a draw needs; None after a failure was noted.
    pub fn needed<T>(
        &mut self,
        check: &'static str,
        answer: Result<T, impl Display>,
        way_out: &str,
    ) -> Option<T> {
        answer
            .map_err(|error| self.bad(check, error.to_string(), way_out))
            .ok()
    }

    /// The answer to a question that a draw can do without; None after its cost was noted.
    pub fn wanted<T>(
        &mut self,
        check: &'static str,
        answer: Result<T, impl Display>,
        cost: &str,
    ) -> Option<T> {
        answer
            .map_err(|error| self.costs(check, error.to_string(), cost))
            .ok()
    }

    pub fn add(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        found: String,
        advice: Option<String>,
    ) {
        self.list.push(Finding {
            subject: self.subject.clone(),
            check,
            verdict,
            found,
            advice,
        });
    }
}
