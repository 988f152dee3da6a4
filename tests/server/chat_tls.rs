//! `ovid chat` with TLS: everything that its file says is to be encrypted, and what both ends say where something is wrong.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use ovid::reactor::Trust;
use ovid::talk::{Line, user_route};
use ovid::wire::proto::ErrorCode;
use ovid::wire::proto::route::Payload;
use ovid::wire::proto::user::Action;
use tempfile::TempDir;

use crate::chat::{chat, demonstrate};
use crate::grid::{LIMIT, free_ports, wait_for_exit, wait_until};
use crate::tls::{certificates, self_signed};

/// A chat of one server, and a folder for it.
struct Solo {
    folder: TempDir,
    base: u16,
    server: Option<Child>,
}

impl Solo {
    /// With what the file says beside its node.
    fn new(host: &str, more: &str) -> Self {
        let (folder, (base, _)) = (tempfile::tempdir().expect("a folder"), free_ports(2));
        let text = format!(
            r#"{{"groupTag": "solo", {more}
                "nodes": [{{"id": 1, "host": "{host}", "internalPort": {base}, "clientPort": {}}}]}}"#,
            base + 1
        );
        fs::write(folder.path().join("nodes.json"), text).expect("written");
        Self { folder, base, server: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn serve(&self, more: &[&str]) -> Command {
        let (nodes, data) = (self.path("nodes.json"), self.path("data"));
        let [nodes, data] = [&nodes, &data].map(|path| path.to_str().expect("UTF-8"));
        chat(&[&["serve", "--nodes", nodes, "--id", "1", "--data", data], more].concat())
    }

    fn start(&mut self) {
        let log = File::create(self.path("log")).expect("written");
        self.server = Some(self.serve(&[]).stderr(log).spawn().expect("the binary runs"));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).expect("it was begun")
    }

    /// What a server says that does not start.
    fn refused(&self, more: &[&str]) -> String {
        let output = self.serve(more).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    fn connect(&self, trust: Option<&Trust>) -> anyhow::Result<Line> {
        Line::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.base + 1)), LIMIT, trust)
    }

    /// Registers a user, as soon as there is a leader.
    fn register(&self, trust: Option<&Trust>) {
        wait_until("a user is registered", || {
            let asked = self.connect(trust).and_then(|mut line| {
                line.ask(&user_route("ann", "secret", Action::Register), Duration::from_secs(5))
            });
            let Ok(Some(Payload::Response(response))) = asked.map(|route| route.payload) else {
                return false;
            };
            // Or is one already.
            ![ErrorCode::Busy, ErrorCode::Unknown].map(i32::from).contains(&response.error_code())
        });
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("it still runs");
            wait_for_exit(&mut server);
        }
    }
}

fn trust(folder: &Path) -> Trust {
    Trust::load(&folder.join("authority.pem")).expect("it was made")
}

#[test]
fn everything_is_encrypted_within_and_between_two_clusters() {
    let folder = tempfile::tempdir().expect("a folder");
    demonstrate(&["--tls", "--dir", folder.path().to_str().expect("UTF-8")]);
}

#[test]
fn both_ends_say_what_is_wrong_where_one_does_not_encrypt_or_is_not_believed() {
    let mut solo = Solo::new("127.0.0.1", r#""tls": "tls","#);
    let (tls, others) = (certificates(), certificates());
    fs::rename(tls.path(), solo.path("tls")).expect("moved");
    solo.start();
    let trusting = trust(&solo.path("tls"));
    solo.register(Some(&trusting));

    let ask = |mut line: Line| line.ask(&user_route("ann", "secret", Action::Access), LIMIT);
    let error = solo.connect(None).and_then(ask).expect_err("it does not encrypt");
    assert!(format!("{error:#}").contains("what comes is TLS"), "{error:#}");
    wait_until("the server says so, too", || {
        solo.log().contains("what comes is not TLS") && solo.log().contains("speak without it?")
    });
    let error = solo.connect(Some(&trust(others.path()))).expect_err("it believes another authority");
    assert!(format!("{error:#}").contains("UnknownIssuer"), "{error:#}");
    wait_until("the server says so, too", || solo.log().contains("the other side has refused"));
    solo.register(Some(&trusting));

    let mut plain = Solo::new("127.0.0.1", "");
    plain.start();
    plain.register(None);
    let error = plain.connect(Some(&trusting)).expect_err("the server does not encrypt");
    assert!(format!("{error:#}").contains("no agreement on how to encrypt"), "{error:#}");
    wait_until("the server says so, too", || {
        plain.log().contains("what comes is TLS, and here nothing is encrypted")
    });
}

#[test]
fn servers_whose_certificate_nobody_would_believe_do_not_start() {
    let solo = Solo::new("127.0.0.1", r#""tls": "tls","#);
    let said = solo.refused(&[]);
    assert!(said.contains("tls.certificate: cannot read") && said.contains("`ovid cert`"), "{said}");
    let said = solo.refused(&["--plain"]);
    assert!(said.contains("--plain says that nothing is encrypted") && said.contains("leave one"), "{said}");
    for (name, until, expected) in [
        ("127.0.0.1", 2001, "certificate expired"),
        ("127.0.0.9", 4000, "other servers reach this one at 127.0.0.1; `ovid cert --name 127.0.0.1`"),
    ] {
        fs::create_dir_all(solo.path("tls")).expect("made");
        self_signed(&solo.path("tls"), name, until);
        let said = solo.refused(&[]);
        assert!(said.contains("tls.certificate: nobody would believe") && said.contains(expected), "{said}");
    }
    let others = certificates();
    self_signed(&solo.path("tls"), "127.0.0.1", 4000);
    fs::copy(others.path().join("authority.pem"), solo.path("tls/authority.pem")).expect("copied");
    let said = solo.refused(&[]);
    assert!(said.contains("tls.authority has to be the one that it comes from"), "{said}");
    fs::copy(others.path().join("key.pem"), solo.path("tls/key.pem")).expect("copied");
    let said = solo.refused(&[]);
    assert!(said.contains("tls.certificate and tls.key"), "{said}");
}

#[test]
fn beyond_this_machine_one_has_to_choose() {
    let said = Solo::new("10.1.2.3", "").refused(&[]);
    let ways_out = ["10.1.2.3 is not on this machine alone", "let \"tls\" in that file", "--plain"];
    assert!(ways_out.iter().all(|what| said.contains(what)), "{said}");
}
