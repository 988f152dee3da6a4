//! `ovid grid reload`: brings running boxes to what a changed file says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::control::{self, Control, ControlError};
use super::{file, show};
use crate::agent::Registry;
use crate::config::Configuration;
use crate::grid::BoxAddress;

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// The changed configuration: JSON, or TOML where its name ends in .toml
    file: PathBuf,
}

pub(super) fn run(args: &ReloadArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let configuration = file::read(&args.file, registry)?;
    let (lines, all_well) = reload(&configuration, &args.file.display().to_string());
    show(&lines)?;
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends the configuration to every box that can be reached. What became of it, a line a box, and whether all is well.
fn reload(configuration: &Configuration, file: &str) -> (Vec<String>, bool) {
    let (mut lines, mut all_well) = (Vec::new(), true);
    let asked = control::ask_all(configuration);
    // What the running boxes know tells a box that is new from one that should run and does not.
    let known: BTreeSet<BoxAddress> = asked
        .iter()
        .filter_map(|(_, asked)| asked.as_ref().ok())
        .flat_map(|status| status.boxes.iter().map(|peer| peer.address).chain([status.on]))
        .collect();
    let line = configuration.to_line();
    for (on, asked) in asked {
        let answer = asked.and_then(|_| {
            let mut control = Control::connect(configuration, on)?;
            control.ask(&format!("reload {line}"))
        });
        lines.push(match answer {
            Ok(answer) => format!("{on} {answer}"),
            Err(ControlError::NoPort) => {
                format!("{on} has no control port; it keeps what it has until it is started again")
            }
            Err(ControlError::Unreachable(..)) if !known.is_empty() && !known.contains(&on) => {
                format!("{on} is new; start it with: ovid grid run {file} {on}")
            }
            Err(error) => {
                all_well = false;
                format!("{on} {error}")
            }
        });
    }
    let boxes = configuration.boxes();
    for on in known.iter().filter(|on| !boxes.contains(on)) {
        lines.push(format!(
            "{on} is not in the file any more; if it runs, it goes on as it is until it is stopped"
        ));
    }
    (lines, all_well)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::sync::{Arc, Mutex};

    use super::super::control::fake;
    use super::*;
    use crate::config::{Format, read};

    const ONE: &str = "127.0.0.1:4000";
    const TWO: &str = "127.0.0.1:4001";
    const GONE: &str = "127.0.0.1:4002";

    /// A box `ONE` that knows `others`, answers `reload` with `answer`, and keeps what it was sent.
    fn running(others: &'static [&str], answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        let control = fake::start(move |line| {
            if line == "status" {
                return Some(fake::status(ONE, others));
            }
            kept.lock().unwrap().push(line.to_owned());
            Some(format!("{answer}\n"))
        });
        (control, sent)
    }

    fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port")
    }

    #[test]
    fn running_boxes_get_the_whole_configuration() {
        let (control, sent) = running(&[], "reloaded added=b removed= rerouted=a restarted=");
        let configuration = fake::configuration(&[(ONE, Some(control))]);
        let (lines, all_well) = reload(&configuration, "f");
        assert_eq!(lines, ["127.0.0.1:4000 reloaded added=b removed= rerouted=a restarted="]);
        assert!(all_well);
        let sent = sent.lock().unwrap();
        let text = sent[0].strip_prefix("reload ").expect("the command");
        assert_eq!(read(text, Format::Json, &Registry::builtin()), Ok(configuration));
    }

    #[test]
    fn a_new_box_is_told_from_one_that_is_missing() {
        let (control, _) = running(&[GONE], "reloaded added= removed= rerouted= restarted=");
        let configuration = fake::configuration(&[(ONE, Some(control)), (TWO, Some(nobody()))]);
        let (lines, all_well) = reload(&configuration, "f");
        assert_eq!(lines[1], "127.0.0.1:4001 is new; start it with: ovid grid run f 127.0.0.1:4001");
        assert_eq!(
            lines[2],
            "127.0.0.1:4002 is not in the file any more; if it runs, it goes on as it is until it is stopped"
        );
        assert!(all_well);
        let (control, _) = running(&[TWO], "reloaded added= removed= rerouted= restarted=");
        let configuration = fake::configuration(&[(ONE, Some(control)), (TWO, Some(nobody()))]);
        let (lines, all_well) = reload(&configuration, "f");
        assert!(lines[1].starts_with("127.0.0.1:4001 cannot be reached at "), "{lines:?}");
        assert!(!all_well);
    }

    #[test]
    fn a_refusal_is_passed_on() {
        let (control, _) = running(&[], "error 1:1: a: wrong");
        let configuration = fake::configuration(&[(ONE, Some(control)), (TWO, None)]);
        let (lines, all_well) = reload(&configuration, "f");
        assert_eq!(lines[0], "127.0.0.1:4000 refused: 1:1: a: wrong");
        assert_eq!(
            lines[1],
            "127.0.0.1:4001 has no control port; it keeps what it has until it is started again"
        );
        assert!(!all_well);
    }
}
