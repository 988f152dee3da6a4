//! Where boxes are controlled, and that no two of them want one place.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{BoxSettings, Configuration};
use crate::grid::BoxAddress;

impl BoxSettings {
    /// Where those who control the box `on` connect to. A box that awaits them on every address is found at its own.
    pub fn control_of(&self, on: BoxAddress) -> Option<SocketAddr> {
        let control = self.control?;
        let ip = if control.ip().is_unspecified() { on.ip() } else { control.ip() };
        Some(SocketAddr::new(ip, control.port()))
    }
}

/// Boxes whose control port is another's place, each with what is wrong.
pub(super) fn clashes(
    configuration: &Configuration,
    boxes: impl Iterator<Item = BoxAddress>,
) -> Vec<(BoxAddress, String)> {
    let boxes: Vec<BoxAddress> = boxes.collect();
    let mut taken: BTreeMap<SocketAddr, String> =
        boxes.iter().map(|on| (on.socket(), format!("the box {on} itself"))).collect();
    let mut clashes = Vec::new();
    for on in boxes {
        let Some(control) = configuration.settings_of(on).control_of(on) else { continue };
        match taken.get(&control) {
            Some(other) => {
                let what = format!(
                    "the control port {control} of box {on} is taken by {other}; set another with \
                     \"control\" in an entry of type \"box\", or none with false"
                );
                clashes.push((on, what));
            }
            None => {
                taken.insert(control, format!("the control of box {on}"));
            }
        }
    }
    clashes
}
