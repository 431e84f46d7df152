//! What the operator's owner should know of. When an alert begins and ends is the actors' business.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn label(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Something the operator's owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// `alert-` + unix milliseconds + `-` + counter.
    pub id: String,
    /// Stable snake_case name of the condition, e.g. `draw_failed`.
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    pub round_id: Option<u64>,
    pub unix_ms: u64,
}
