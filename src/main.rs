//! Arguments in, exit code out: all else is the library's, so that tests, benches and the demo can use it. What the
//! arguments mean stands in `commands`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lottery::commands::main(std::env::args_os().skip(1), std::env::vars_os()).into()
}
