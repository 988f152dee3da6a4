//! `ovid chat demo`: two clusters, five servers, two users.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::{Value, json};

use crate::bench::groups::{self, Folder, Group};
use crate::cli::grid::by_chance;
use crate::reactor::Trust;
use crate::rng::Rng;
use crate::talk::{ClientEvent, ClientOptions, Recipient, Talk};
use crate::wire::proto::Message;
use crate::wire::proto::message::Type;

#[derive(Debug, Args)]
pub(in crate::cli) struct DemoArgs {
    /// The first of 18 ports: servers among themselves, then clients, then discovery (UDP)
    #[arg(long, default_value_t = 4700, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=55_000))]
    base_port: u16,
    /// Where files, logs and data go, and stay; without it, to a folder that is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Encrypt everything, with certificates that are made for this
    #[arg(long)]
    tls: bool,
    /// End once the two have written to each other
    #[arg(long)]
    once: bool,
}

/// A cluster of the demonstration.
struct Cluster {
    tag: &'static str,
    /// The numbers of its servers.
    servers: std::ops::Range<u16>,
}

const CLUSTERS: [Cluster; 2] =
    [Cluster { tag: "east", servers: 0..3 }, Cluster { tag: "west", servers: 3..5 }];
const USERS: [&str; 2] = ["alice", "bob"];
const PASSWORD: &str = "open sesame";

pub(super) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    groups::end_on_signals()?;
    ports_are_free(args.base_port)?;
    let end = demonstrate(args);
    while groups::is_ending() {
        // What went wrong is the end of the servers. This process ends with the signal's status, as soon as they have.
        thread::park();
    }
    end
}

/// A port that somebody has is found out before anything is started.
fn ports_are_free(base_port: u16) -> anyhow::Result<()> {
    for cluster in &CLUSTERS {
        // Where a server is controlled lies above where the others connect.
        let internal =
            cluster.servers.clone().flat_map(|number| [0, 10_000].map(|above| base_port + number + above));
        let clients = cluster.servers.clone().map(|number| client_at(base_port, number).port());
        let stream =
            internal.chain(clients).map(|port| (port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).err()));
        let datagrams = discovery_port(base_port, cluster);
        let datagram = (datagrams, UdpSocket::bind((Ipv4Addr::LOCALHOST, datagrams)).err());
        for (port, error) in stream.chain([datagram]) {
            if let Some(error) = error {
                bail!("port {port} cannot be had ({error}): --base-port chooses others");
            }
        }
    }
    Ok(())
}

fn demonstrate(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let scratch = match &args.dir {
        Some(_) => None,
        None => Some(Folder::create_in(&std::env::temp_dir(), "ovid-chat")?),
    };
    let folder = args.dir.as_deref().or(scratch.as_ref().map(Folder::path)).context("one of the two")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let authority = folder.join("tls/authority.pem");
    if args.tls {
        crate::cli::cert::create_for_this_machine(&folder.join("tls"))?;
    }
    let trust = args.tls.then(|| Trust::load(&authority)).transpose()?;
    let servers = start(args, folder)?;
    say(&format!("five servers in two clusters, east and west; what they log is in {}", folder.display()))?;
    let mut talks = Vec::new();
    for (name, cluster) in USERS.into_iter().zip(&CLUSTERS) {
        // Whoever writes to somebody needs them as a user of their own cluster.
        for other in CLUSTERS.iter().filter(|other| other.tag != cluster.tag) {
            enter(args.base_port, other, name, trust.as_ref(), &servers)?;
        }
        let (talk, at) = enter(args.base_port, cluster, name, trust.as_ref(), &servers)?;
        say(&format!("{name} is a user of both clusters, and on the server {at} of {} now", cluster.tag))?;
        talks.push(talk);
    }
    let [alice, bob] = &mut talks[..] else { bail!("two users have entered") };
    write(alice, "alice@east", "bob", "hello bob, are you there in the west?", &servers)?;
    expect(bob, "bob@west", "alice", &servers)?;
    write(bob, "bob@west", "alice", "I am; it has found me across clusters", &servers)?;
    expect(alice, "alice@east", "bob", &servers)?;
    if args.once {
        return Ok(ExitCode::SUCCESS);
    }
    for cluster in &CLUSTERS {
        let at = client_at(args.base_port, cluster.servers.start);
        let more = if args.tls { format!(" --ca {}", authority.display()) } else { String::new() };
        say(&format!("join {}: ovid-chat --server {at}{more} --user NAME --register", cluster.tag))?;
    }
    say(
        "alice answers who writes to her in east, bob in west; kill a server and see; Ctrl-C ends everything",
    )?;
    for (name, group) in &servers {
        say(&format!("kill -9 {} ends {name}", group.pgid()))?;
    }
    stay(talks, &servers)
}

/// Starts the servers, each with its log in `folder`.
fn start(args: &DemoArgs, folder: &Path) -> anyhow::Result<Vec<(String, Group)>> {
    let program = std::env::current_exe().context("cannot find the program that this is")?;
    let mut servers = Vec::new();
    for (cluster, other) in CLUSTERS.iter().zip(CLUSTERS.iter().rev()) {
        let path = folder.join(format!("{}.json", cluster.tag));
        let mut nodes = nodes(args.base_port, cluster, other);
        if args.tls {
            nodes["tls"] = json!("tls");
        }
        let text = serde_json::to_string_pretty(&nodes).context("cannot write JSON")?;
        fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        for number in cluster.servers.clone() {
            let name = format!("{}-{number}", cluster.tag);
            let log = folder.join(format!("{name}.log"));
            let log = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
            let mut command = Command::new(&program);
            command.args(["chat", "serve", "--nodes"]).arg(&path).args(["--id", &number.to_string()]);
            command.arg("--data").arg(folder.join("data")).args(["-v", "--die-with-parent"]);
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
            servers.push((name, Group::start(&mut command)?));
        }
    }
    Ok(servers)
}

/// The file of a cluster's servers.
fn nodes(base_port: u16, cluster: &Cluster, other: &Cluster) -> Value {
    let node = |number: u16| {
        json!({
            "id": number,
            "host": "127.0.0.1",
            "internalPort": base_port + number,
            "clientPort": client_at(base_port, number).port(),
        })
    };
    let servers: Vec<String> =
        other.servers.clone().map(|number| client_at(base_port, number).to_string()).collect();
    json!({
        "groupTag": cluster.tag,
        "secret": "a secret of both clusters",
        "discoveryPort": discovery_port(base_port, cluster),
        "nodes": cluster.servers.clone().map(node).collect::<Vec<_>>(),
        "clusters": {other.tag: servers},
        "ask": [format!("127.0.0.1:{}", discovery_port(base_port, other))],
    })
}

fn client_at(base_port: u16, number: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, base_port + 8 + number))
}

fn discovery_port(base_port: u16, cluster: &Cluster) -> u16 {
    base_port + 16 + u16::from(cluster.servers.start > 0)
}

/// Logs a user in, who is registered if need be, as soon as the cluster can do that.
fn enter(
    base_port: u16,
    cluster: &Cluster,
    name: &str,
    trust: Option<&Trust>,
    servers: &[(String, Group)],
) -> anyhow::Result<(Talk, SocketAddr)> {
    let at = cluster.servers.clone().map(|number| client_at(base_port, number)).collect();
    let options =
        ClientOptions { register: true, log_in: LOG_IN_LIMIT, ..ClientOptions::new(name, PASSWORD, at) };
    let mut talk = Talk::new(options, Rng::new(by_chance()));
    if let Some(trust) = trust {
        talk = talk.trusting(trust.clone());
    }
    for _ in 0..ATTEMPTS_MAX {
        check(servers)?;
        match talk.next(PAUSE) {
            Some(ClientEvent::LoggedIn { server }) => return Ok((talk, server)),
            Some(ClientEvent::LogInFailed { why }) => bail!("{name} cannot enter {}: {why}", cluster.tag),
            _ => {}
        }
    }
    bail!("{name} finds no server of {} that lets it in", cluster.tag)
}

/// Writes, and waits until that is accepted. Nobody has written to this user yet.
fn write(
    talk: &mut Talk,
    who: &str,
    to: &str,
    text: &str,
    servers: &[(String, Group)],
) -> anyhow::Result<()> {
    talk.send(Recipient::User(to.to_owned()), text);
    for _ in 0..ATTEMPTS_MAX {
        check(servers)?;
        match talk.next(PAUSE) {
            Some(ClientEvent::Accepted { .. }) => return say(&format!("{who} writes to {to}: {text}")),
            Some(ClientEvent::Refused { why, .. }) => bail!("{who} cannot write to {to}: {why}"),
            _ => {}
        }
    }
    bail!("nobody has answered whether what {who} writes to {to} is accepted")
}

/// Waits for the message that `from` has written just now.
fn expect(talk: &mut Talk, who: &str, from: &str, servers: &[(String, Group)]) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        check(servers)?;
        if let Some(ClientEvent::Message { message, .. }) = talk.next(PAUSE) {
            say(&heard(who, &message))?;
            if message.sender_id == from {
                return Ok(());
            }
        }
    }
    bail!("{who} has heard nothing from {from}")
}

fn heard(who: &str, message: &Message) -> String {
    let from = match &message.cluster {
        Some(cluster) => format!("{} (in {cluster})", message.sender_id),
        None => message.sender_id.clone(),
    };
    format!("{who} reads from {from}: {}", message.payload)
}

/// Lets the two answer until a signal ends all. Servers may die; then the two go to others.
fn stay(talks: Vec<Talk>, servers: &[(String, Group)]) -> anyhow::Result<ExitCode> {
    let (sender, lines) = bounded(LINES_MAX);
    for ((talk, name), cluster) in talks.into_iter().zip(USERS).zip(&CLUSTERS) {
        let sender = sender.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || live(&format!("{name}@{}", cluster.tag), talk, &sender))
            .context("cannot start a thread")?;
    }
    drop(sender);
    show(&lines, servers)
}

/// Shows what is said, and which servers end.
fn show(lines: &Receiver<String>, servers: &[(String, Group)]) -> anyhow::Result<ExitCode> {
    let mut running: Vec<&(String, Group)> = servers.iter().collect();
    loop {
        let mut ended = Vec::new();
        running.retain(|(name, group)| {
            let end = group.leader_end();
            ended.extend(
                end.iter().map(|end| format!("the server {name} {end}; the others go on without it")),
            );
            end.is_none()
        });
        ended.iter().try_for_each(|line| say(line))?;
        match lines.recv_timeout(PAUSE) {
            Ok(line) => say(&line)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("neither alice nor bob can be reached any more"),
        }
    }
}

/// A user answers whoever writes, but the other of the two, who would never end; on one server after the other.
fn live(who: &str, mut talk: Talk, lines: &Sender<String>) {
    // What was written and is not accepted yet.
    let mut answers: BTreeMap<u64, (String, String)> = BTreeMap::new();
    loop {
        let Some(event) = talk.next(PAUSE) else { continue };
        let line = match event {
            ClientEvent::Disconnected => format!("{who} has lost its server"),
            ClientEvent::LoggedIn { server } => format!("{who} is on {server} now"),
            ClientEvent::LogInFailed { why } => {
                let _ = lines.send(format!("{who} is gone: {why}"));
                return;
            }
            ClientEvent::Message { message, .. } => {
                if message.cluster.is_none() && !USERS.contains(&message.sender_id.as_str()) {
                    let text = format!("you wrote: {}", message.payload);
                    let (to, recipient) = match message.r#type() {
                        Type::Single => {
                            (message.sender_id.clone(), Recipient::User(message.sender_id.clone()))
                        }
                        Type::Group => (
                            format!("#{}", message.receiver_id),
                            Recipient::Group(message.receiver_id.clone()),
                        ),
                    };
                    let ticket = talk.send(recipient, text.clone());
                    answers.insert(ticket, (to, text));
                }
                heard(who, &message)
            }
            ClientEvent::Accepted { ticket, .. } => match answers.remove(&ticket) {
                Some((to, text)) => format!("{who} writes to {to}: {text}"),
                None => continue,
            },
            ClientEvent::Refused { ticket, why, .. } => match answers.remove(&ticket) {
                Some((to, _)) => format!("{who} cannot write to {to}: {why}"),
                None => continue,
            },
            ClientEvent::ReadBy { .. } | ClientEvent::Presence { .. } | ClientEvent::Answer { .. } => {
                continue;
            }
        };
        if lines.send(line).is_err() {
            return;
        }
    }
}

/// Whether all servers run.
fn check(servers: &[(String, Group)]) -> anyhow::Result<()> {
    for (name, group) in servers {
        if let Some(end) = group.leader_end() {
            bail!("the server {name} {end} by itself; its log says why (--dir keeps it)");
        }
    }
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    if groups::is_ending() {
        // Whoever ends everything knows that servers end.
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", line.escape_debug())
        .and_then(|()| stdout.flush())
        .context("cannot write what is said")
}

/// How often something is tried, and what lies between: some 40 s, on a machine that does other things as well.
const ATTEMPTS_MAX: usize = 200;
const PAUSE: Duration = Duration::from_millis(200);
/// How long a server may look at a password, on such a machine.
const LOG_IN_LIMIT: Duration = Duration::from_secs(30);
const LINES_MAX: usize = 1024;
