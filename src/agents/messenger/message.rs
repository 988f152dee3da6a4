//! What the servers of one cluster tell each other, beside their log.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::agent::JsonMessage;

/// A message from one server of a cluster to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessengerMessage {
    /// Where my clients reach me, and who is connected to me: the first thing on a link.
    Here {
        /// `host:port`, as clients are told.
        clients: String,
        /// How many sessions I have.
        sessions: u64,
        /// Whose, by the numbers of the users.
        online: Vec<u64>,
        /// Whether this answers the other side's, and is not to be answered. Who has just begun may not have heard what it was told when the link came up.
        answer: bool,
    },
    /// That has changed.
    Changed {
        /// How many sessions I have now.
        sessions: u64,
        /// Who has come.
        came: Vec<u64>,
        /// Who is gone.
        went: Vec<u64>,
    },
    /// The leader: where the servers of other clusters are, as far as heard of.
    Clusters {
        /// Tags, each with addresses for clients.
        heard: Vec<(String, Vec<SocketAddr>)>,
    },
}

impl JsonMessage for MessengerMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Here { .. } => "here",
            Self::Changed { .. } => "changed",
            Self::Clusters { .. } => "clusters",
        }
    }
}
