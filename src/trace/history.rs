//! A trace together with all that can be concluded from it.

use std::collections::BTreeSet;
use std::fmt;

use super::{Clocks, Event, Messages, Trace, What};

/// A trace, its messages and clocks, and what is odd about it.
#[derive(Clone, Debug)]
pub struct History {
    /// What happened.
    pub trace: Trace,
    /// What could have caused what, and which send belongs to which receive.
    pub clocks: Clocks,
    /// What cannot have been so, in the order of its events.
    pub oddities: Vec<Oddity>,
}

/// Something that a trace says and that cannot have been so. It is shown, not hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oddity {
    /// Where to look: an index into [`Trace::events`].
    pub event: usize,
    /// What it is.
    pub what: Odd,
}

/// The kinds of oddities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Odd {
    /// Received before it was sent: the clocks of the two servers are apart, by this much at least.
    ClocksApart {
        /// By how many nanoseconds the receive is earlier.
        by_ns: u64,
    },
    /// The trace of the sender does not hold the send.
    NeverSent {
        /// Who is said to have sent it.
        from: String,
    },
    /// The send and the receive that belong together by their numbers say different things.
    OtherContents,
    /// It was received before something that caused it.
    Circle,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClocksApart { by_ns } => {
                let whole = by_ns / 1_000_000;
                let part = by_ns % 1_000_000;
                write!(
                    f,
                    "received {whole}.{part:06} ms before it was sent: the two servers' clocks are apart"
                )
            }
            Self::NeverSent { from } => {
                write!(f, "received, but the trace of {from} does not say that it was sent")
            }
            Self::OtherContents => f.write_str("received with other contents than it was sent with"),
            Self::Circle => f.write_str("received before its own cause; it counts as received from nowhere"),
        }
    }
}

impl History {
    /// Concludes what there is to conclude.
    pub fn of(trace: Trace) -> Self {
        let clocks = Clocks::of(&trace, Messages::of(&trace.events));
        let oddities = oddities(&trace, &clocks);
        Self { trace, clocks, oddities }
    }
}

fn oddities(trace: &Trace, clocks: &Clocks) -> Vec<Oddity> {
    // Where a server's trace is not at hand at all, all that came from it would be odd.
    let traced: BTreeSet<&str> =
        clocks.in_causal_order().iter().map(|&event| trace.events[event].server.as_str()).collect();
    let in_circle: BTreeSet<usize> = clocks.in_circle().iter().copied().collect();
    let mut oddities = Vec::new();
    for (event, received) in trace.events.iter().enumerate() {
        let What::Receive { from, .. } = &received.what else { continue };
        let what = if in_circle.contains(&event) {
            Some(Odd::Circle)
        } else if let Some(send) = clocks.messages().send_of(event) {
            difference(&trace.events[send], received)
        } else {
            traced.contains(from.as_str()).then(|| Odd::NeverSent { from: from.clone() })
        };
        oddities.extend(what.map(|what| Oddity { event, what }));
    }
    oddities
}

fn difference(sent: &Event, received: &Event) -> Option<Odd> {
    let (What::Send { text: before, .. }, What::Receive { text: after, .. }) = (&sent.what, &received.what)
    else {
        return None;
    };
    if before != after {
        return Some(Odd::OtherContents);
    }
    (received.at_ns < sent.at_ns).then(|| Odd::ClocksApart { by_ns: sent.at_ns - received.at_ns })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{note, received, sent};
    use super::*;

    fn odd(events: Vec<Event>) -> Vec<(usize, String)> {
        let history = History::of(Trace::new(events));
        history.oddities.iter().map(|oddity| (oddity.event, oddity.what.to_string())).collect()
    }

    #[test]
    fn nothing_is_odd_about_a_good_trace() {
        assert_eq!(
            odd(vec![sent(1, "a", "b", None), sent(1, "a", "b", None), received(1, "b", "a", None)]),
            []
        );
    }

    #[test]
    fn what_cannot_have_been_so_is_told() {
        let late = odd(vec![received(1, "b", "a", None), sent(1_500_001, "a", "b", None)]);
        let what = "received 1.500000 ms before it was sent: the two servers' clocks are apart";
        assert_eq!(late, [(0, what.to_owned())]);

        let events = vec![note(0, "a", "here"), received(1, "b", "a", None), received(2, "b", "c", None)];
        let what = "received, but the trace of a does not say that it was sent";
        assert_eq!(odd(events), [(1, what.to_owned())], "and c's trace is not at hand");

        let mut other = received(2, "b", "a", None);
        if let What::Receive { text, .. } = &mut other.what {
            *text = "goodbye".into();
        }
        let what = "received with other contents than it was sent with";
        assert_eq!(odd(vec![sent(1, "a", "b", None), other]), [(1, what.to_owned())]);

        let events = vec![
            received(1, "a", "b", Some(1)),
            received(2, "b", "a", Some(2)),
            sent(3, "a", "b", Some(2)),
            sent(4, "b", "a", Some(1)),
        ];
        assert_eq!(
            odd(events)[0],
            (0, "received before its own cause; it counts as received from nowhere".to_owned())
        );
    }
}
