//! The `ovid` command; everything it can do lives in [`ovid::cli`].

use std::process::ExitCode;

use ovid::agent::Registry;

fn main() -> ExitCode {
    ovid::cli::run(Registry::builtin())
}
