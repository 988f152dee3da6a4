//! What the tests of this room share.

use proptest::prelude::*;

use super::{Event, Trace, What};

pub(super) fn sent(at_ns: u64, server: &str, to: &str, id: Option<u64>) -> Event {
    let what =
        What::Send { to: to.into(), link: String::new(), kind: "msg".into(), text: "hello".into(), id };
    Event { at_ns, server: server.into(), what }
}

pub(super) fn received(at_ns: u64, server: &str, from: &str, id: Option<u64>) -> Event {
    let what = What::Receive {
        from: from.into(),
        link: String::new(),
        kind: "msg".into(),
        text: "hello".into(),
        id,
    };
    Event { at_ns, server: server.into(), what }
}

pub(super) fn dropped(at_ns: u64, server: &str, to: &str, id: Option<u64>) -> Event {
    Event { at_ns, server: server.into(), what: What::Drop { to: to.into(), id, why: "lost".into() } }
}

pub(super) fn note(at_ns: u64, server: &str, text: &str) -> Event {
    Event { at_ns, server: server.into(), what: What::Note { text: text.into() } }
}

/// Small runs: messages with and without ids, lost, repeated and reordered ones, events of the network, and servers whose clocks are
/// apart, so that a receive may seem to be earlier than its send.
pub(super) fn runs() -> impl Strategy<Value = Trace> {
    let step = (0u64..4, 0u64..4, 0u32..8, any::<prop::sample::Index>());
    (prop::collection::vec(step, 0..40), prop::array::uniform4(0u64..30)).prop_map(
        |(steps, clocks_apart_ns)| {
            let mut events = Vec::new();
            let mut on_the_way: Vec<(u64, u64, u64)> = Vec::new();
            for (time, (server, peer, act, choice)) in (0u64..).zip(steps) {
                let name = server.to_string();
                let at_ns = |server: u64| time + clocks_apart_ns[usize::try_from(server).expect("small")];
                match act {
                    0..=2 if server != peer => {
                        events.push(sent(at_ns(server), &name, &peer.to_string(), Some(time)));
                        on_the_way.push((server, peer, time));
                    }
                    3..=5 if !on_the_way.is_empty() => {
                        let index = choice.index(on_the_way.len());
                        let (from, to, id) = on_the_way[index];
                        events.push(received(at_ns(to), &to.to_string(), &from.to_string(), Some(id)));
                        // Otherwise it is repeated, perhaps.
                        if act < 5 {
                            on_the_way.swap_remove(index);
                        }
                    }
                    6 => events.push(dropped(at_ns(server), &name, &peer.to_string(), None)),
                    _ => events.push(note(at_ns(server), &name, "thinks")),
                }
            }
            Trace::new(events)
        },
    )
}
