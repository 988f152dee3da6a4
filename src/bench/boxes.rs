//! The configuration of boxes that a bench starts, put together entry by entry.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

/// A configuration on its way to a file.
#[derive(Clone, Debug, Default)]
pub struct BoxesFile {
    entries: Map<String, Value>,
}

impl BoxesFile {
    /// Adds an agent on the box at `on`; `attrs` and `routes` are objects.
    pub fn agent(&mut self, id: &str, kind: &str, on: SocketAddr, attrs: &Value, routes: &Value) {
        let entry = json!({"type": kind, "box": on.to_string(), "attrs": attrs, "routes": routes});
        self.entries.insert(id.to_owned(), entry);
    }

    /// Adds the settings of the box at `on`: where it is controlled, and where its data lie if not where it is told when it starts.
    pub fn settings(&mut self, on: SocketAddr, control: SocketAddr, data: Option<&Path>) {
        let mut attrs = json!({"control": control.to_string()});
        if let Some(data) = data {
            attrs["data"] = json!(data);
        }
        let id = format!("box-{}", self.entries.len());
        self.entries.insert(id, json!({"type": "box", "box": on.to_string(), "attrs": attrs}));
    }

    /// Writes it.
    pub fn write(self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.entries).context("cannot write the configuration")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}
