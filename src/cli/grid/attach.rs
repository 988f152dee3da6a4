//! `ovid grid attach`: a terminal, or a pipe, to one agent of a running grid.

mod pipe;
mod terminal;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::control::Control;
use super::file;
use crate::agent::Registry;
use crate::config::{AgentId, Configuration};

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// The configuration: JSON, or TOML where its name ends in .toml
    file: PathBuf,
    /// The id of the agent to talk to
    agent: AgentId,
    /// How long to wait for more after the end of the input, in milliseconds of silence, where the input is no terminal
    #[arg(long, default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    linger: u64,
}

pub(super) fn run(args: &AttachArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let configuration = file::read(&args.file, registry)?;
    let control = attach(&configuration, &args.agent)?;
    let stream = control.into_stream().context("cannot use the connection")?;
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        let begun = terminal::Terminal::open();
        if let Some(terminal) = begun {
            return terminal.talk(stream, &args.agent);
        }
    }
    pipe::talk(stream, io::stdin(), &mut io::stdout().lock(), Duration::from_millis(args.linger))
}

/// Connects to the box on which `agent` lives, and asks for it.
fn attach(configuration: &Configuration, agent: &AgentId) -> anyhow::Result<Control> {
    let Some(entry) = configuration.agents.get(agent) else {
        let known: Vec<&str> = configuration.agents.keys().map(AgentId::as_str).collect();
        bail!("the configuration has no agent {agent}; it has {}", known.join(", "));
    };
    let on = entry.on;
    let asked = Control::connect(configuration, on).and_then(|mut control| {
        let answer = control.ask(&format!("attach {agent}"))?;
        Ok((control, answer))
    });
    let (control, answer) = asked.with_context(|| format!("the box {on} of {agent}"))?;
    if answer != format!("attached {agent}") {
        bail!("the box {on} of {agent} gives an answer that is not understood: {answer:?}");
    }
    Ok(control)
}

#[cfg(test)]
mod tests {
    use super::super::control::fake;
    use super::*;
    use crate::config::{Format, read};

    fn configuration(control: std::net::SocketAddr) -> Configuration {
        let text = format!(
            r#"{{"a": {{"type": "dummy", "box": "127.0.0.1:1"}},
                "s": {{"type": "box", "box": "127.0.0.1:1", "attrs": {{"control": "{control}"}}}}}}"#
        );
        read(&text, Format::Json, &Registry::builtin()).expect("right")
    }

    #[test]
    fn what_cannot_be_attached_is_told() {
        let control =
            fake::start(|line| Some(if line == "attach a" { "error gone\n" } else { "?\n" }.to_owned()));
        let configuration = configuration(control);
        let error = |agent: &str| {
            let agent = agent.parse().expect("an id");
            format!("{:#}", attach(&configuration, &agent).expect_err("refused"))
        };
        assert_eq!(error("a"), "the box 127.0.0.1:1 of a: refused: gone");
        assert_eq!(error("b"), "the configuration has no agent b; it has a");
    }

    /// What is shown of an agent that repeats lines and hangs up at `bye`.
    fn talk(input: &'static str, linger: Duration) -> (String, anyhow::Result<ExitCode>) {
        let control = fake::start(|line| match line {
            "attach a" => Some("attached a\n".to_owned()),
            "bye" => None,
            _ => Some(format!("<{line}>\n")),
        });
        let attached = attach(&configuration(control), &"a".parse().expect("an id")).expect("attached");
        let mut shown = Vec::new();
        let stream = attached.into_stream().expect("a stream");
        let ended = pipe::talk(stream, input.as_bytes(), &mut shown, linger);
        (String::from_utf8(shown).expect("UTF-8"), ended)
    }

    #[test]
    fn lines_go_there_and_answers_come_back() {
        // The last line has no newline. Whether the end of the input or of the connection is seen first is a matter of luck.
        let (shown, _) = talk("one\ntwo\nbye", Duration::from_secs(60));
        assert_eq!(shown, "<one>\n<two>\n");
    }

    #[test]
    fn an_agent_that_says_nothing_is_left_after_a_while() {
        let (shown, ended) = talk("", Duration::ZERO);
        assert_eq!((shown.as_str(), ended.expect("in order")), ("", ExitCode::SUCCESS));
    }
}
