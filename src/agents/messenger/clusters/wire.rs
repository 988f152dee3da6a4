//! What servers of different clusters, and those who look for a server, say: made and taken apart.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::{ClusterSettings, SharedSecret};
use crate::wire::proto::network_discovery_packet::{Mode, Sender};
use crate::wire::proto::route::{Path, Payload};
use crate::wire::proto::{
    Header, MessagesRequest, NetworkDiscoveryPacket, Route, header, messages_request, put_frame,
};

/// A packet of this cluster that names the server at `server`, `host:port`, for those who share a secret. None without one, or if that is no such text.
pub(in crate::agents::messenger) fn packet(
    settings: &ClusterSettings,
    secret: Option<&SharedSecret>,
    mode: Mode,
    server: &str,
) -> Option<NetworkDiscoveryPacket> {
    let secret = secret?;
    let (host, port) = server.rsplit_once(':')?;
    Some(NetworkDiscoveryPacket {
        mode: mode.into(),
        sender: Sender::ExternalServerNode.into(),
        group_tag: Some(settings.group_tag.clone()),
        node_id: None,
        node_address: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        node_port: port.parse::<u16>().ok()?.into(),
        secret: secret.reveal().to_owned(),
        least_loaded: None,
    })
}

/// The server that a packet names. Where its address is no number, or nobody's, it is the one that the packet has come from.
pub(in crate::agents::messenger) fn server_of(
    packet: &NetworkDiscoveryPacket,
    from: IpAddr,
) -> Option<SocketAddr> {
    let port = u16::try_from(packet.node_port).ok().filter(|port| *port != 0)?;
    let named = packet.node_address.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified());
    let ip = named.unwrap_or(from).to_canonical();
    (!ip.is_multicast()).then_some(SocketAddr::new(ip, port))
}

/// A Route between clusters.
pub(in crate::agents::messenger) fn route(id: i64, path: Path, payload: Option<Payload>) -> Route {
    let header = Some(Header { r#type: Some(header::Type::InterCluster.into()) });
    Route { id, path: path.into(), header, payload, ..Route::default() }
}

/// What subscribes to a user's messages.
pub(super) fn subscription(id: i64, user: &str) -> Route {
    let request = MessagesRequest { r#type: messages_request::Type::User.into(), id: user.to_owned() };
    route(id, Path::MessagesRequest, Some(Payload::MessagesRequest(request)))
}

/// A Route as a frame, its length included.
pub(in crate::agents::messenger) fn frame(route: &Route) -> Bytes {
    let mut bytes = Vec::new();
    put_frame(route, &mut bytes);
    bytes.into()
}
