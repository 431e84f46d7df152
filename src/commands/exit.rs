//! How a command ends: one type for what the shell, systemd and monitoring get to see.

use std::process::ExitCode;

/// A second signal ends the process at once, with what shells use for "interrupted".
pub(crate) const ENDED_AT_ONCE: i32 = 130;

/// The end of a command, and with it the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped by a signal.
    Done,
    /// It failed while running.
    Failed,
    /// The arguments or the configuration are wrong: trying again changes nothing.
    Usage,
    /// The answer is no: a check or a verification failed, or the daemon refused.
    No,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::No => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
