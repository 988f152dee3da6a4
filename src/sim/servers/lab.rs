//! The servers of a chatroom lab, as the command line would start them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Maker;
use crate::agents::overlay::Options;
use crate::grid::{BoxAddress, Grid, LINK_BASE_DEFAULT, ServerId};
use crate::server::{LinkSettings, OverlaySetup, ReplyFraming, Roster, Server, Settings};
use crate::sim::scramble;

/// Where the servers of a lab of `n` listen.
pub fn lab_addresses(n: u16) -> impl Iterator<Item = SocketAddr> {
    (0..n).map(|id| SocketAddr::from((Ipv4Addr::LOCALHOST, LINK_BASE_DEFAULT + id)))
}

/// What a server of a lab is told once.
#[derive(Clone, Debug)]
pub struct LabSettings {
    /// What every server is told.
    pub server: Settings,
    /// The most that its message log takes, in bytes.
    pub log_bytes_max: usize,
}

/// Makes the servers of a lab of `n`; `tune` may change the settings of each.
///
/// # Panics
/// If the numbers do not make a grid.
pub fn lab(n: u16, tune: impl Fn(&mut LabSettings) + 'static) -> Maker {
    Box::new(move |id, _, now| {
        let grid = Grid::new(id, n, LINK_BASE_DEFAULT).expect("the numbers make a grid");
        let addresses = (0..).map(ServerId).zip(lab_addresses(n)).filter(|(peer, _)| *peer != grid.id());
        let mut settings = settings(Roster::lab(grid, addresses.collect()));
        tune(&mut settings);
        Server::lab(settings.server, settings.log_bytes_max, now)
    })
}

/// Makes the servers of a lab of `n` that speak through an overlay; `tune` may change the settings of each. Whoever comes asks all the others to
/// be let in, from server 0 on.
///
/// # Panics
/// If the numbers do not make a grid.
pub fn overlay_lab(n: u16, tune: impl Fn(&mut LabSettings, &mut OverlaySetup) + 'static) -> Maker {
    Box::new(move |id, incarnation, now| {
        let grid = Grid::new(id, n, LINK_BASE_DEFAULT).expect("the numbers make a grid");
        let mut addresses: Vec<BoxAddress> = lab_addresses(n).map(BoxAddress::new).collect();
        let address = addresses.remove(usize::from(id));
        let mut settings = settings(Roster::of_overlay(address));
        settings.server.links.heartbeat = Duration::from_secs(60);
        settings.server.links.silence_max = Duration::from_secs(120);
        let (contacts, options) = (addresses, Options::default());
        let incarnation = u64::from(incarnation);
        let seed = scramble(incarnation << 16 | u64::from(id));
        let mut setup = OverlaySetup { grid, address, contacts, options, incarnation, seed };
        tune(&mut settings, &mut setup);
        Server::of_overlay(settings.server, setup, settings.log_bytes_max, now)
    })
}

/// What a server of either is told, but for what `roster` says.
fn settings(roster: Roster) -> LabSettings {
    let links = LinkSettings {
        roster,
        heartbeat: Duration::from_millis(240),
        silence_max: Duration::from_millis(800),
        line_bytes_max: 1 << 20,
        queue_bytes_max: 64 << 20,
        strangers_max: 256,
    };
    // Eight masters, and the one through which the world looks inside.
    let server = Settings {
        links,
        reply_framing: ReplyFraming::Newline,
        masters_max: 9,
        connections_max: 9,
        tracing: false,
    };
    LabSettings { server, log_bytes_max: 1 << 30 }
}
