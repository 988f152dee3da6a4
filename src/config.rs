//! Configurations: which agents live on which box, their attributes and their routes. Pure: files are read by the command line.
//!
//! **Shape.** A JSON object, agent id -> `{"type", "box": "ip:port", "attrs": {..}, "routes": {"<virtual destination>":
//! {"<physical agent>": <port>, ..}}}`; several physical agents under one virtual destination are a multicast. An entry of the
//! reserved type `box` is no agent: its attributes are the settings of that box. TOML of the same shape means the same.

mod model;

pub use self::model::{AgentId, BoxSettings, Configuration, Entry, IdError, RouteTargets};

/// The type of an entry that holds the settings of a box.
pub const BOX_TYPE: &str = "box";
