//! The other side of a box's control port: lines to it, lines from it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::config::Configuration;
use crate::grid::BoxAddress;

/// How long a box may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// How long a box may be silent while it owes an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The longest line that a box may answer.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Why a box gave no answer that could be used.
#[derive(Debug, Error)]
pub(super) enum ControlError {
    /// The configuration gives the box no control port.
    #[error("has no control port")]
    NoPort,
    /// Nobody is there, or nobody that this machine can reach.
    #[error("cannot be reached at {0}: {1}")]
    Unreachable(SocketAddr, io::Error),
    /// It took the line and said nothing, or closed the connection.
    #[error("does not answer at {0}: {1}")]
    Silent(SocketAddr, io::Error),
    /// It said that it will not.
    #[error("refused: {0}")]
    Refused(String),
    /// Whoever listens there is no such box.
    #[error("{0} gives an answer that is not understood: {1}")]
    Nonsense(SocketAddr, String),
}

/// What a box says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Status {
    /// Its address.
    #[serde(rename = "box")]
    pub(super) on: BoxAddress,
    /// For how long it has been running, in milliseconds.
    pub(super) uptime_ms: u64,
    /// Its agents.
    pub(super) agents: Vec<AgentStatus>,
    /// The other boxes that it knows.
    pub(super) boxes: Vec<PeerStatus>,
    /// What waits to be sent to other boxes.
    #[serde(default)]
    pub(super) bytes_queued: u64,
    /// Frames that did not go out or could not be used.
    #[serde(default)]
    pub(super) frames_dropped: u64,
    /// Frames that were lost because somebody had asked for it.
    #[serde(default)]
    pub(super) frames_lost_on_purpose: u64,
}

/// What a box says about one of its agents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AgentStatus {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) counters: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) about: Option<String>,
}

/// What a box says about another box.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct PeerStatus {
    pub(super) address: BoxAddress,
    /// `alive`, `suspected` or `absent`.
    pub(super) state: String,
}

impl Status {
    /// How many of the other boxes it sees, as `seen/all`.
    pub(super) fn seen(&self) -> String {
        let alive = self.boxes.iter().filter(|peer| peer.state == "alive").count();
        format!("{alive}/{}", self.boxes.len())
    }

    /// The ids of its agents.
    pub(super) fn ids(&self) -> String {
        self.agents.iter().map(|agent| agent.id.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// A connection to the control port of one box.
#[derive(Debug)]
pub(super) struct Control {
    on: BoxAddress,
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Control {
    /// Connects to the box `on` of `configuration`.
    pub(super) fn connect(configuration: &Configuration, on: BoxAddress) -> Result<Self, ControlError> {
        let address = configuration.settings_of(on).control_of(on).ok_or(ControlError::NoPort)?;
        let open = || {
            let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            stream.set_write_timeout(Some(ANSWER_LIMIT))?;
            // A dial to a dead port of this machine can meet itself.
            if stream.local_addr()? == stream.peer_addr()? {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(stream)
        };
        let stream = open().map_err(|error| ControlError::Unreachable(address, error))?;
        Ok(Self { on, address, stream: BufReader::new(stream) })
    }

    /// Sends a line and waits for the line that answers it.
    pub(super) fn ask(&mut self, line: &str) -> Result<String, ControlError> {
        self.send(line).map_err(|error| self.silent(error))?;
        let answer = self.line()?;
        match answer.strip_prefix("error ") {
            Some(what) => Err(ControlError::Refused(what.to_owned())),
            None => Ok(answer),
        }
    }

    /// Asks how the box is.
    pub(super) fn status(&mut self) -> Result<Status, ControlError> {
        let answer = self.ask("status")?;
        let status: Status = serde_json::from_str(&answer).map_err(|error| {
            ControlError::Nonsense(self.address, format!("{error} in {}", short(&answer)))
        })?;
        if status.on == self.on {
            Ok(status)
        } else {
            Err(ControlError::Nonsense(self.address, format!("it is the box {}", status.on)))
        }
    }

    /// The connection itself, for whoever goes on without questions and answers, and what was read of it already.
    pub(super) fn into_stream(self) -> io::Result<BufReader<TcpStream>> {
        self.stream.get_ref().set_read_timeout(None)?;
        Ok(self.stream)
    }

    fn send(&self, line: &str) -> io::Result<()> {
        // One write: the line leaves as a whole.
        let mut stream = self.stream.get_ref();
        stream.write_all(format!("{line}\n").as_bytes())
    }

    fn line(&mut self) -> Result<String, ControlError> {
        let mut bytes = Vec::new();
        let read = (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        match read {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                let what = format!("nothing for {} s", ANSWER_LIMIT.as_secs());
                return Err(self.silent(io::Error::new(io::ErrorKind::TimedOut, what)));
            }
            Err(error) => return Err(self.silent(error)),
            Ok(_) => {}
        }
        if bytes.pop() != Some(b'\n') {
            let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection");
            return Err(self.silent(closed));
        }
        String::from_utf8(bytes).map_err(|_| ControlError::Nonsense(self.address, "not UTF-8".to_owned()))
    }

    fn silent(&self, error: io::Error) -> ControlError {
        ControlError::Silent(self.address, error)
    }
}

/// The beginning of something long, for a message.
fn short(text: &str) -> String {
    let begin: String = text.chars().take(60).collect();
    if begin.len() < text.len() { format!("{begin:?}...") } else { format!("{begin:?}") }
}

/// Asks all boxes of `configuration` at once how they are.
pub(super) fn ask_all(configuration: &Configuration) -> Vec<(BoxAddress, Result<Status, ControlError>)> {
    let ask = |on| Control::connect(configuration, on).and_then(|mut control| control.status());
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            configuration.boxes().into_iter().map(|on| (on, scope.spawn(move || ask(on)))).collect();
        asked.into_iter().map(|(on, asked)| (on, asked.join().expect("asking does not panic"))).collect()
    })
}

#[cfg(test)]
pub(super) mod fake {
    //! A box that says what a test wants it to say.

    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers each line with what `answer` makes of it, on one connection after the other; `None` closes the connection.
    pub(in crate::cli::grid) fn start(
        mut answer: impl FnMut(&str) -> Option<String> + Send + 'static,
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("a connection"));
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap_or(0) == 0 {
                        break;
                    }
                    let Some(answer) = answer(line.trim_end()) else { break };
                    if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        address
    }

    /// The configuration of boxes that do nothing, given as addresses and control ports.
    pub(in crate::cli::grid) fn configuration(boxes: &[(&str, Option<SocketAddr>)]) -> Configuration {
        let mut configuration = Configuration::default();
        for (on, control) in boxes {
            let on: BoxAddress = on.parse().expect("an address");
            let mut settings = crate::config::BoxSettings::default_of(on);
            settings.control = *control;
            configuration.settings.insert(on, settings);
        }
        configuration
    }

    /// What a box that is well answers to `status`.
    pub(in crate::cli::grid) fn status(on: &str, others: &[&str]) -> String {
        let boxes: Vec<_> = others
            .iter()
            .map(|other| serde_json::json!({"address": other, "state": "alive", "silent_ms": 5}))
            .collect();
        let agents = serde_json::json!([{"id": "a", "type": "kvs", "counters": {"records": 3}, "about": "standing=leader"}]);
        let status = serde_json::json!({"box": on, "uptime_ms": 61_000, "agents": agents, "boxes": boxes,
            "bytes_queued": 7, "frames_dropped": 0, "frames_lost_on_purpose": 2});
        format!("{status}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: &str = "127.0.0.1:4000";

    fn status_of(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Result<Status, ControlError> {
        let control = fake::start(answer);
        let configuration = fake::configuration(&[(ON, Some(control))]);
        Control::connect(&configuration, ON.parse().expect("an address"))
            .and_then(|mut control| control.status())
    }

    #[test]
    fn a_box_says_how_it_is() {
        let status = status_of(|line| {
            assert_eq!(line, "status");
            Some(fake::status(ON, &["[::1]:4001"]))
        });
        let status = status.expect("an answer");
        assert_eq!((status.uptime_ms, status.seen().as_str(), status.ids().as_str()), (61_000, "1/1", "a"));
        assert_eq!((status.agents[0].counters["records"], status.bytes_queued), (3, 7));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let refused = status_of(|_| Some("error not now\n".to_owned()));
        assert!(matches!(refused, Err(ControlError::Refused(what)) if what == "not now"));
        let other = status_of(|_| Some(fake::status("127.0.0.1:9", &[])));
        assert!(matches!(other, Err(ControlError::Nonsense(_, what)) if what == "it is the box 127.0.0.1:9"));
        let nonsense = status_of(|_| Some("SSH-2.0\n".to_owned()));
        assert!(matches!(nonsense, Err(ControlError::Nonsense(_, what)) if what.ends_with("in \"SSH-2.0\"")));
    }

    #[test]
    fn a_box_that_hangs_up_is_silent() {
        let closed = status_of(|_| None);
        assert!(matches!(closed, Err(ControlError::Silent(..))), "{closed:?}");
    }

    #[test]
    fn a_box_that_is_not_there_is_named_with_its_place() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a port");
        let configuration = fake::configuration(&[(ON, Some(nobody)), ("127.0.0.1:4001", None)]);
        let asked = ask_all(&configuration);
        assert!(
            matches!(&asked[0].1, Err(ControlError::Unreachable(place, _)) if *place == nobody),
            "{asked:?}"
        );
        assert!(matches!(asked[1].1, Err(ControlError::NoPort)), "{asked:?}");
    }
}
