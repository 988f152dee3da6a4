//! The `ovid` command; everything it can do lives in [`ovid::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ovid::cli::run()
}
