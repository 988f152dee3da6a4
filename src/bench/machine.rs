//! What a figure was measured on.

use std::fs;

use serde_json::{Value, json};

/// Cores, kernel, processor model, load and the command line: without them a figure means nothing.
pub fn facts() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let system = rustix::system::uname();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu_model": model.trim_start_matches([' ', '\t', ':']),
        "kernel": format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
        "architecture": system.machine().to_string_lossy(),
        "load_average": read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        "version": env!("CARGO_PKG_VERSION"),
        "optimized": !cfg!(debug_assertions),
    })
}

/// The machine in one line, for the foot of a table.
pub fn summary(facts: &Value) -> String {
    let text = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
    let build = if facts["optimized"] == true { "" } else { "; UNOPTIMIZED BUILD, the figures mean nothing" };
    format!(
        "{} cores, {}, {}, load {} before the run{build}",
        facts["cores"],
        text("cpu_model"),
        text("kernel"),
        text("load_average")
    )
}
