//! What is measured: our servers, a baseline, any other implementation, or a broker with the same fan-out.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

/// Where the servers of a grid listen.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Server `i` listens for its master on this port plus `i`.
    pub master_base: u16,
    /// Server `i` listens for other servers on this port plus `i`.
    pub link_base: u16,
}

impl Ports {
    /// The master port of a server.
    pub fn master(self, id: usize) -> anyhow::Result<u16> {
        offset(self.master_base, id)
    }

    /// The link port of a server.
    pub fn link(self, id: usize) -> anyhow::Result<u16> {
        offset(self.link_base, id)
    }
}

fn offset(base: u16, id: usize) -> anyhow::Result<u16> {
    u16::try_from(id)
        .ok()
        .and_then(|id| base.checked_add(id))
        .with_context(|| format!("port {base} + {id} is not a port; choose a smaller base or fewer servers"))
}

/// One thing to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    /// `ovid server`, from this executable.
    Ours,
    /// `ovid server --overlay`, from this executable: all join through server 0.
    Overlay,
    /// The baseline that does the hot path alone.
    Bare,
    /// The baseline with a thread for each connection.
    Naive,
    /// A command line given by the user, already split into words.
    Process(ProcessSpec),
    /// An installed nats-server.
    Nats(PathBuf),
}

/// Another implementation's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The name in tables, `process`, `process2`, ...
    pub name: String,
    /// Program and arguments; `{id}`, `{n}`, `{port}` and `{link_base}` are replaced in each word.
    pub words: Vec<String>,
    /// Whether its servers answer `status` with a count of messages, so that `get` need not be polled.
    pub has_status: bool,
}

impl ProcessSpec {
    /// Splits the command line at `place` among several; the three arguments of the contract are appended where no
    /// placeholder asks for them.
    pub fn parse(line: &str, place: usize, has_status: bool) -> anyhow::Result<Self> {
        let mut words = split_words(line)?;
        anyhow::ensure!(
            !words.is_empty(),
            "--process is empty; give a command such as './process {{id}} {{n}} {{port}}'"
        );
        if !words.iter().any(|word| word.contains("{id}")) {
            words.extend(["{id}", "{n}", "{port}"].map(str::to_owned));
        }
        let name = if place == 0 { "process".to_owned() } else { format!("process{}", place + 1) };
        Ok(Self { name, words, has_status })
    }
}

impl System {
    /// The name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Ours => "ovid",
            Self::Overlay => "overlay",
            Self::Bare => "bare",
            Self::Naive => "naive",
            Self::Process(process) => &process.name,
            Self::Nats(_) => "nats",
        }
    }

    /// Whether the end of a run can be found by polling `status`; otherwise `get` is polled, which costs the server.
    pub fn has_status(&self) -> bool {
        match self {
            Self::Ours | Self::Overlay | Self::Bare | Self::Naive => true,
            Self::Process(process) => process.has_status,
            Self::Nats(_) => false,
        }
    }

    /// The command that starts server `id` of `n`.
    pub fn command(&self, id: usize, n: usize, ports: Ports) -> anyhow::Result<Command> {
        let port = ports.master(id)?;
        let numbers = [id.to_string(), n.to_string(), port.to_string(), ports.link_base.to_string()];
        let own = |words: &[&str]| -> anyhow::Result<Command> {
            let mut command = Command::new(std::env::current_exe().context("cannot find this executable")?);
            command.args(words).args(&numbers[..3]).args(["--link-base", &numbers[3]]);
            Ok(command)
        };
        match self {
            Self::Ours => own(&["server"]),
            Self::Overlay => {
                let contact = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.link(0)?));
                let mut command = own(&["server"])?;
                command.args(["--overlay", "--join", &contact.to_string()]);
                Ok(command)
            }
            Self::Bare => own(&["bench", "node", "bare"]),
            Self::Naive => own(&["bench", "node", "naive"]),
            Self::Process(process) => {
                let mut words = process.words.iter().map(|word| {
                    let names = ["{id}", "{n}", "{port}", "{link_base}"];
                    names
                        .iter()
                        .zip(&numbers)
                        .fold(word.clone(), |word, (name, value)| word.replace(name, value))
                });
                let mut command = Command::new(words.next().context("the command is empty")?);
                command.args(words);
                Ok(command)
            }
            Self::Nats(_) => {
                anyhow::bail!("a broker is not a grid of servers; it can be measured by `broadcast` alone")
            }
        }
    }
}

/// Splits a line into words as a shell does: blanks separate, quotes and backslashes keep.
pub fn split_words(line: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let escaped = letters.next().with_context(|| format!("`{line}` ends in a backslash"))?;
                // Between double quotes a shell keeps the backslash before an ordinary letter.
                if quote.is_some() && !matches!(escaped, '"' | '\\' | '$' | '`') {
                    word.get_or_insert_default().push(letter);
                }
                word.get_or_insert_default().push(escaped);
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    anyhow::ensure!(quote.is_none(), "a quote is not closed in `{line}`");
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let words = split_words(r#"python3 "my server.py" 'a "b"' c\ d "" "x\"y\n""#).unwrap();
        assert_eq!(words, ["python3", "my server.py", "a \"b\"", "c d", "", "x\"y\\n"]);
        assert!(split_words("a 'b").is_err());
        assert!(split_words("a \\").is_err());
    }

    #[test]
    fn placeholders_are_replaced_and_missing_ones_appended() {
        let ports = Ports { master_base: 10000, link_base: 3000 };
        let system = System::Process(ProcessSpec::parse("./server --me={id} {n} {port}", 0, false).unwrap());
        let command = system.command(2, 5, ports).unwrap();
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["--me=2", "5", "10002"]);

        let system = System::Process(ProcessSpec::parse("./process", 1, false).unwrap());
        let command = system.command(0, 3, ports).unwrap();
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["0", "3", "10000"]);
    }
}
