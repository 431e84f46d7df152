//! Data to stdout, talk to stderr. Neither can end the process: a reader that has gone away is no fault of ours, and a
//! full disk is told and answered with an exit code.

use std::io::{ErrorKind, Write};

use crate::commands::exit::Exit;

/// Prints a command's data; how the command ends once it is out.
pub(crate) fn print(text: &str, exit: Exit) -> Exit {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => exit,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit,
        Err(error) => {
            tell(&format!("stdout cannot be written: {error}"));
            Exit::Failed
        }
    }
}

/// Says something to the person; where nobody listens, there is nobody to tell that either.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
