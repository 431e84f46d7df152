//! Arguments in, exit code out: 0 done, 1 failed while running, 2 bad usage or configuration, 3 the answer is no.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(lottery::cli::main(
        std::env::args_os().skip(1),
        std::env::vars_os(),
    ))
}
