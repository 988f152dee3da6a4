//! A configuration as one line of JSON, as it travels to running boxes.

use serde_json::{Map, Value, json};

use super::{BOX_TYPE, BoxSettings, Configuration, Entry, TlsSettings};
use crate::agents::replicated::LOG_ROUTE;

impl Configuration {
    /// The same configuration as one line of JSON, which [`super::read`] takes back.
    pub fn to_line(&self) -> String {
        let mut entries: Map<String, Value> =
            self.agents.iter().map(|(id, entry)| (id.to_string(), agent(entry))).collect();
        let mut number = 0;
        for (on, settings) in &self.settings {
            // Settings have lost the id under which they stood; any that no agent has will do.
            let id = loop {
                number += 1;
                let id = format!("{BOX_TYPE}{number}");
                if !entries.contains_key(&id) {
                    break id;
                }
            };
            entries.insert(id, json!({"type": BOX_TYPE, "box": on.to_string(), "attrs": attrs(settings)}));
        }
        Value::Object(entries).to_string()
    }
}

fn agent(entry: &Entry) -> Value {
    let targets = |(name, targets): (&String, &super::RouteTargets)| {
        let ports = targets.0.iter().map(|(id, port)| (id.to_string(), Value::from(port.0)));
        (name.clone(), Value::Object(ports.collect()))
    };
    // The route between the members of a log follows from its attribute.
    let written = entry.routes.iter().filter(|(name, _)| !(entry.is_replicated() && *name == LOG_ROUTE));
    let routes: Map<String, Value> = written.map(targets).collect();
    json!({"type": entry.kind, "box": entry.on.to_string(), "attrs": entry.attrs, "routes": routes})
}

impl TlsSettings {
    /// As a configuration has it.
    pub(super) fn to_json(&self) -> Value {
        let mut tls = json!({
            "certificate": self.certificate,
            "key": self.key,
            "authority": self.authority,
            "links": self.links,
        });
        if !self.names.is_empty() {
            tls["names"] = json!(self.names);
        }
        tls
    }
}

fn attrs(settings: &BoxSettings) -> Value {
    let mut attrs = json!({
        "control": settings.control.map_or(Value::Bool(false), |control| Value::String(control.to_string())),
        "data": settings.data,
        "loss": settings.loss.to_string(),
        "duplicate": settings.duplicate.to_string(),
        "delay_ms": u64::try_from(settings.delay.as_millis()).unwrap_or(u64::MAX),
    });
    if let Some(seed) = settings.seed {
        attrs["seed"] = seed.into();
    }
    if let Some(tls) = &settings.tls {
        attrs["tls"] = tls.to_json();
    }
    if settings.plain {
        attrs["plain"] = Value::Bool(true);
    }
    attrs
}
