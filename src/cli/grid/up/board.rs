//! What is shown of the boxes: a table that follows them on a terminal, else a line for each change.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::agents::tty::printable;
use crate::cli::grid::control::{ControlError, Status};
use crate::cli::grid::table;
use crate::grid::BoxAddress;

/// What is known about each box, and where it is shown.
pub(super) struct Board {
    boxes: BTreeMap<BoxAddress, State>,
    screen: Screen,
    all_up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Waiting,
    Started(u32),
    /// Runs, and nobody can ask it how it is.
    Unasked(u32),
    Up(Status),
    /// Was up, and does not answer any more.
    Silent(String),
    Ended(String),
}

enum Screen {
    Table { all: MultiProgress, rows: BTreeMap<BoxAddress, ProgressBar> },
    Lines(Box<dyn Write>),
}

impl Board {
    /// A board for `boxes` on standard output.
    pub(super) fn open(boxes: &[BoxAddress]) -> Self {
        let screen = if io::stdout().is_terminal() {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("{msg}").expect("a template without mistakes");
            let row = |on: &BoxAddress| {
                // How it ended stays to be read.
                let row =
                    ProgressBar::new_spinner().with_style(style.clone()).with_finish(ProgressFinish::Abandon);
                let row = all.add(row);
                row.tick();
                (*on, row)
            };
            let rows = boxes.iter().map(row).collect();
            Screen::Table { all, rows }
        } else {
            Screen::Lines(Box::new(io::stdout()))
        };
        Self::on(screen, boxes)
    }

    fn on(screen: Screen, boxes: &[BoxAddress]) -> Self {
        let boxes = boxes.iter().map(|on| (*on, State::Waiting)).collect();
        Self { boxes, screen, all_up: false }
    }

    /// Shows a line that stays.
    pub(super) fn say(&mut self, line: &str) {
        let line = printable(line);
        match &mut self.screen {
            // A terminal that is gone, or a reader that has left, must not take the boxes along.
            Screen::Table { all, .. } => drop(all.println(line)),
            Screen::Lines(stdout) => drop(writeln!(stdout, "{line}").and_then(|()| stdout.flush())),
        }
    }

    /// Shows a line that a box printed.
    pub(super) fn output(&mut self, on: BoxAddress, line: &str) {
        self.say(&format!("{on} | {line}"));
    }

    pub(super) fn started(&mut self, on: BoxAddress, pid: u32) {
        self.set(on, State::Started(pid));
    }

    /// What a box answered when it was asked how it is.
    pub(super) fn status(&mut self, on: BoxAddress, status: Result<Status, ControlError>) {
        let Some(before) = self.boxes.get(&on) else { return };
        let state = match (status, before) {
            // An answer that came before its end is no news after it.
            (_, State::Ended(_)) => return,
            (Ok(status), _) => State::Up(status),
            (Err(ControlError::NoPort), State::Started(pid)) => State::Unasked(*pid),
            (Err(error), State::Up(_) | State::Silent(_)) => State::Silent(error.to_string()),
            // It has just begun: that it cannot be reached yet is no news.
            (Err(_), _) => return,
        };
        self.set(on, state);
        if !self.all_up && self.boxes.iter().all(|(on, state)| self.is_up(*on, state)) {
            self.all_up = true;
            let count = self.boxes.len();
            let boxes =
                if count == 1 { "the box is up".to_owned() } else { format!("all {count} boxes are up") };
            self.say(&format!("{boxes}; Ctrl-C stops them"));
        }
    }

    /// Whether a box is ready to be used: it runs and sees all the others here, as far as it can be asked.
    fn is_up(&self, on: BoxAddress, state: &State) -> bool {
        match state {
            State::Unasked(_) => true,
            State::Up(status) => {
                let sees = |other: &BoxAddress| {
                    status.boxes.iter().any(|peer| peer.address == *other && peer.state == "alive")
                };
                self.boxes.keys().all(|other| *other == on || sees(other))
            }
            _ => false,
        }
    }

    /// A box has ended, because it was asked to or not.
    pub(super) fn ended(&mut self, on: BoxAddress, status: ExitStatus, asked: bool) {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no status".to_owned(),
        };
        let end = if asked { format!("ended: {how}") } else { format!("DIED: {how}") };
        if matches!(self.screen, Screen::Table { .. }) && !asked {
            self.say(&format!("{on} {end}"));
        }
        self.set(on, State::Ended(end));
    }

    fn set(&mut self, on: BoxAddress, state: State) {
        let Some(before) = self.boxes.insert(on, state) else { return };
        let state = &self.boxes[&on];
        match &self.screen {
            Screen::Table { rows, .. } => {
                let cells: Vec<Vec<String>> = self
                    .boxes
                    .iter()
                    .map(|(on, state)| [vec![on.to_string()], state.cells()].concat())
                    .collect();
                for (row, line) in rows.values().zip(table::lines(&cells)) {
                    row.set_message(line);
                }
            }
            Screen::Lines(_) => {
                if let Some(line) = state.line(&before) {
                    self.say(&format!("{on} {line}"));
                }
            }
        }
    }
}

impl State {
    /// The box's row in the table, behind its address.
    fn cells(&self) -> Vec<String> {
        match self {
            Self::Waiting => Vec::new(),
            Self::Started(pid) => vec!["starting".to_owned(), format!("pid {pid}")],
            Self::Unasked(pid) => vec!["runs".to_owned(), format!("pid {pid}, no control port")],
            Self::Up(status) => vec![
                "up".to_owned(),
                table::duration(status.uptime_ms),
                format!("sees {}", status.seen()),
                status.ids(),
            ],
            Self::Silent(why) => vec!["SILENT".to_owned(), why.clone()],
            Self::Ended(how) => vec![how.clone()],
        }
    }

    /// The change from `before`, if it is one that people want to know.
    fn line(&self, before: &Self) -> Option<String> {
        match (before, self) {
            (_, Self::Started(pid)) => Some(format!("started pid={pid}")),
            (_, Self::Unasked(_)) => Some("runs; it has no control port to ask it".to_owned()),
            (Self::Up(before), Self::Up(now)) if before.seen() == now.seen() && before.ids() == now.ids() => {
                None
            }
            (_, Self::Up(now)) => Some(format!("up, sees {}, agents: {}", now.seen(), now.ids())),
            (_, Self::Waiting) | (Self::Silent(_), Self::Silent(_)) => None,
            (_, Self::Silent(why)) => Some(format!("SILENT: {why}")),
            (_, Self::Ended(how)) => Some(how.clone()),
        }
    }
}

#[cfg(test)]
pub(super) mod fake {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a board has shown.
    #[derive(Clone, Default)]
    pub(in crate::cli::grid::up) struct Shown(Arc<Mutex<Vec<u8>>>);

    impl Shown {
        pub(in crate::cli::grid::up) fn lines(&self) -> Vec<String> {
            String::from_utf8_lossy(&self.0.lock().unwrap()).lines().map(str::to_owned).collect()
        }
    }

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(in crate::cli::grid::up) fn board(boxes: &[BoxAddress]) -> (Board, Shown) {
        let shown = Shown::default();
        (Board::on(Screen::Lines(Box::new(shown.clone())), boxes), shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(port: u16) -> BoxAddress {
        format!("127.0.0.1:{port}").parse().expect("an address")
    }

    fn status(port: u16, uptime_ms: u64, state: &str) -> Status {
        let peers = serde_json::json!([{"address": "127.0.0.1:2", "state": state}]);
        let agents = serde_json::json!([{"id": "a", "type": "dummy"}]);
        let status =
            serde_json::json!({"box": on(port), "uptime_ms": uptime_ms, "agents": agents, "boxes": peers});
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn changes_are_told_once() {
        let (mut board, shown) = fake::board(&[on(1), on(2)]);
        board.started(on(1), 7);
        board.started(on(2), 8);
        let refused = || Err(ControlError::Refused("no".to_owned()));
        board.status(on(1), refused());
        board.status(on(1), Ok(status(1, 5, "absent")));
        board.status(on(1), Ok(status(1, 505, "absent")));
        board.status(on(2), Err(ControlError::NoPort));
        board.status(on(1), Ok(status(1, 1005, "alive")));
        board.status(on(1), refused());
        board.status(on(1), refused());
        board.ended(on(1), ExitStatus::from_raw(9), false);
        board.status(on(1), Ok(status(1, 1505, "alive")));
        board.ended(on(2), ExitStatus::from_raw(2 << 8), true);
        board.output(on(2), "x\u{1b}[31m");
        assert_eq!(
            shown.lines(),
            [
                "127.0.0.1:1 started pid=7",
                "127.0.0.1:2 started pid=8",
                "127.0.0.1:1 up, sees 0/1, agents: a",
                "127.0.0.1:2 runs; it has no control port to ask it",
                "127.0.0.1:1 up, sees 1/1, agents: a",
                "all 2 boxes are up; Ctrl-C stops them",
                "127.0.0.1:1 SILENT: refused: no",
                "127.0.0.1:1 DIED: signal 9",
                "127.0.0.1:2 ended: exit status 2",
                "127.0.0.1:2 | x\u{fffd}[31m",
            ]
        );
    }
}
