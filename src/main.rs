//! The command line of Landfall.

use std::process::ExitCode;

fn main() -> ExitCode {
    landfall::cli::main()
}
