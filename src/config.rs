//! Configurations: which agents live on which box, their attributes and their routes. Pure: files are read by the command line.
//!
//! **Shape.** A JSON object, agent id -> `{"type", "box": "ip:port", "attrs": {..}, "routes": {"<virtual destination>":
//! {"<physical agent>": <port>, ..}}}`; several physical agents under one virtual destination are a multicast. An entry of the
//! reserved type `box` is no agent: its attributes are the settings of that box. TOML of the same shape means the same.
//!
//! **Logs.** The attribute `log` of an agent is the host's: `"local"`, `"memory"`, or `{"members": ["<agent>", ..]}`, a log that these agents agree on. Each
//! of these gets a route `log` to all the others, which is not written but follows.
//!
//! **Reading.** Both formats become one tree that remembers where each value stands; the tree is checked as a whole, so that one
//! reading finds all mistakes, each with its line and its field.

mod control;
mod finding;
mod json;
mod log;
mod model;
mod nodes;
mod read;
mod settings;
mod toml;
mod tree;
mod write;

pub use self::finding::Finding;
pub use self::log::{LogChoice, SharedLog};
pub use self::model::{
    AgentId, BoxSettings, CONTROL_PORT_ABOVE, Configuration, Entry, IdError, RouteTargets, TlsSettings,
};
pub use self::nodes::{ChatNode, Nodes, read_nodes};
pub use self::read::{Format, read};

/// The type of an entry that holds the settings of a box.
pub const BOX_TYPE: &str = "box";
/// The attribute of an agent that names its log. The host takes it: the agent itself never sees it.
pub const LOG_ATTR: &str = "log";

#[cfg(test)]
mod tests;
