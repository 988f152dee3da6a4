//! Cables that can be pulled: each server in a network namespace of its own, at one end of a virtual cable (veth) whose other end is a port
//! of a bridge.
//!
//! All of it lives in namespaces that this program makes for itself by running again inside them ([`enter`]): nothing can be seen from outside,
//! and when the program ends, however it ends, the kernel takes everything away.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};

/// The network of one run.
#[derive(Debug)]
pub struct Network {
    _laid: (),
}

impl Network {
    /// The bridge's own address, where clients live.
    pub const HUB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1));

    /// Lays cables to this many servers. Only inside of [`enter`].
    pub fn lay(servers: usize) -> anyhow::Result<Self> {
        // `ip netns` keeps names of namespaces in /run, which is the machine's.
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
        ip(&["link", "add", "hub", "type", "bridge"])?;
        ip(&["address", "add", &format!("{}/24", Self::HUB), "dev", "hub"])?;
        for device in ["lo", "hub"] {
            ip(&["link", "set", device, "up"])?;
        }
        let network = Self { _laid: () };
        for server in 0..servers {
            let (name, port) = (name_of(server), port_of(server));
            ip(&["netns", "add", &name])?;
            ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["-n", &name, "address", "add", &format!("{}/24", Self::host(server)), "dev", "eth0"])?;
            for device in ["lo", "eth0"] {
                ip(&["-n", &name, "link", "set", device, "up"])?;
            }
            ip(&["link", "set", &port, "master", "hub"])?;
            network.plug(server)?;
        }
        Ok(network)
    }

    /// The address of a server.
    pub fn host(server: usize) -> IpAddr {
        let number = u8::try_from(server).unwrap_or(u8::MAX).saturating_add(FIRST_HOST);
        IpAddr::V4(Ipv4Addr::new(10, 78, 0, number))
    }

    /// The beginning of a command that runs `program` at a server's end of its cable.
    pub fn command(&self, server: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name_of(server)]).arg(program);
        command
    }

    /// Pulls a cable: at the server's end nothing but the light goes out.
    pub fn pull(&self, server: usize) -> anyhow::Result<()> {
        ip(&["link", "set", &port_of(server), "down"])
    }

    /// Puts it back.
    pub fn plug(&self, server: usize) -> anyhow::Result<()> {
        ip(&["link", "set", &port_of(server), "up"])
    }
}

/// Runs this program again, with `arguments`, in namespaces that end with it, and waits for it. Its standard input ends when this process does.
pub fn enter(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let mut tried = in_namespaces();
    tried.args(["sh", "-c", "mount -t tmpfs tmpfs /run && ip netns add one && ip link add one type bridge"]);
    let tried = tried.stdin(Stdio::null()).output().context(
        "cutting servers off needs Linux with `unshare` and `mount` (Debian: util-linux); leave it out with --faults kill,freeze",
    )?;
    ensure!(
        tried.status.success(),
        "no network namespaces for this user: {}; try as root, with `ip` (Debian: iproute2), or leave cutting out with --faults kill,freeze",
        String::from_utf8_lossy(&tried.stderr).trim()
    );
    let program = std::env::current_exe().context("cannot find the program that this is")?;
    // A pipe whose other end is held here alone: the run inside sees by its end that this process has gone, however it went.
    let run = in_namespaces().arg(program).args(arguments).stdin(Stdio::piped()).spawn();
    let mut run = run.context("cannot run inside namespaces")?;
    let held = run.stdin.take();
    let status = run.wait().context("cannot wait for the run inside namespaces")?;
    drop(held);
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ok(ExitCode::from(code)),
        None => bail!("the run inside namespaces was ended: {status}"),
    }
}

fn in_namespaces() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    run("ip", words)
}

fn run(program: &str, words: &[&str]) -> anyhow::Result<()> {
    let done = Command::new(program).args(words).stdin(Stdio::null()).output();
    let done = done.with_context(|| format!("cannot run `{program}`"))?;
    ensure!(
        done.status.success(),
        "`{program} {}` failed: {}",
        words.join(" "),
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(())
}

fn name_of(server: usize) -> String {
    format!("server{}", server + 1)
}

fn port_of(server: usize) -> String {
    format!("port{}", server + 1)
}

/// The last number of the first server's address.
const FIRST_HOST: u8 = 11;
