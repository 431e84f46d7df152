//! Arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    lottery::commands::main(std::env::args_os().skip(1), std::env::vars_os()).into()
}
