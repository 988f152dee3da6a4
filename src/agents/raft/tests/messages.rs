//! Messages come back as they were written, and any bytes are read.

use proptest::prelude::*;

use bytes::Bytes;

use crate::agent::{Applied, Entry, Index, Port, Row, Term, Wire};
use crate::agents::raft::Membership;
use crate::agents::raft::message::{Append, Candidacy, Message, Rejection, Snapshot};
use crate::agents::replicated::{Change, ChangeError};

fn records() -> impl Strategy<Value = Vec<Bytes>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from), 0..5)
}

fn change() -> impl Strategy<Value = Change> {
    let name = "[a-z]{0,5}";
    prop_oneof![
        name.prop_map(Change::AddLearner),
        proptest::collection::vec(name, 0..4).prop_map(Change::SetVoters),
        name.prop_map(Change::Remove),
        name.prop_map(Change::Transfer),
    ]
}

fn result() -> impl Strategy<Value = Result<(), ChangeError>> {
    prop_oneof![
        Just(Ok(())),
        Just(Err(ChangeError::NoLeader)),
        Just(Err(ChangeError::Busy)),
        "[a-z ]{0,9}".prop_map(|text| Err(ChangeError::Refused(text))),
        "[a-z ]{0,9}".prop_map(|text| Err(ChangeError::TimedOut(text))),
    ]
}

fn requests() -> impl Strategy<Value = Message> {
    prop_oneof![
        (any::<u64>(), any::<u64>(), records()).prop_map(|(session, first, records)| Message::Forward {
            session,
            first,
            records
        }),
        (any::<u64>(), any::<u64>()).prop_map(|(session, next)| Message::ForwardReply { session, next }),
        any::<u64>().prop_map(|nonce| Message::Open { nonce }),
        any::<u64>().prop_map(|id| Message::ReadIndex { id }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(id, index)| Message::ReadIndexReply { id, index: Index(index) }),
        (any::<u64>(), change()).prop_map(|(id, change)| Message::Change { id, change }),
        (any::<u64>(), result()).prop_map(|(id, result)| Message::ChangeReply { id, result }),
    ]
}

fn replies() -> impl Strategy<Value = Message> {
    prop_oneof![
        (any::<u64>(), any::<bool>())
            .prop_map(|(term, granted)| Message::PreVoteReply { term: Term(term), granted }),
        (any::<u64>(), any::<bool>())
            .prop_map(|(term, granted)| Message::VoteReply { term: Term(term), granted }),
        any::<(u64, u64, bool)>().prop_map(|(term, stored, repairing)| Message::Appended {
            term: Term(term),
            stored: Index(stored),
            repairing
        }),
        any::<(u64, u64, u64, u64, u64, bool)>().prop_map(|fields| Message::Rejected(Rejection {
            term: Term(fields.0),
            prev: Index(fields.1),
            conflict_term: Term(fields.2),
            conflict_first: Index(fields.3),
            last: Index(fields.4),
            repairing: fields.5,
        })),
        any::<(u64, u64, u64, u64, bool)>().prop_map(|fields| Message::HeartbeatReply {
            term: Term(fields.0),
            round: fields.1,
            agreed: Index(fields.2),
            stored: Index(fields.3),
            repairing: fields.4,
        }),
        any::<(u64, u64, u64)>().prop_map(|(term, token, next)| Message::SnapshotReply {
            term: Term(term),
            token,
            next
        }),
        any::<(u64, u64, u64)>().prop_map(|(term, nonce, target)| Message::RepairReply {
            term: Term(term),
            nonce,
            target: Index(target),
            members: vec![(Index(1), Membership::of_voters(["a", "b"]))],
        }),
    ]
}

fn orders() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<(u64, u64, u64, bool, bool)>().prop_map(|(term, last, last_term, transfer, pre)| {
            let candidacy =
                Candidacy { term: Term(term), last: Index(last), last_term: Term(last_term), transfer };
            if pre { Message::PreVote(candidacy) } else { Message::Vote(candidacy) }
        }),
        (any::<[u64; 3]>(), 0..u64::MAX / 2, records()).prop_map(|(fields, prev, records)| {
            let entries = records.into_iter().zip(prev + 1..);
            let entries =
                entries.map(|(record, index)| Entry { index: Index(index), term: Term(index % 7), record });
            Message::Append(Append {
                term: Term(fields[0]),
                prev: Index(prev),
                prev_term: Term(fields[1]),
                committed: Index(fields[2]),
                entries: entries.collect(),
            })
        }),
        any::<(u64, u64, u64)>().prop_map(|(term, committed, round)| Message::Heartbeat {
            term: Term(term),
            committed: Index(committed),
            round
        }),
        (any::<[u64; 5]>(), any::<bool>(), records()).prop_map(|(fields, last, records)| {
            let rows = records.iter().map(|key| Row { key: key.clone(), value: Some(key.clone()) });
            let meta = records.first().cloned().unwrap_or_default();
            let applied = Applied { index: Index(fields[3]), term: Term(fields[4]), meta };
            let (token, part) = (fields[1], fields[2]);
            let rows = rows.collect();
            Message::Snapshot(Snapshot { term: Term(fields[0]), token, part, applied, rows, last })
        }),
        any::<u64>().prop_map(|term| Message::TimeoutNow { term: Term(term) }),
        any::<u64>().prop_map(|nonce| Message::Repair { nonce }),
    ]
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were_sent(message in prop_oneof![requests(), replies(), orders()]) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        prop_assert_eq!(Message::decode(Port(1), &bytes), Ok(message));
        bytes.push(0);
        prop_assert!(Message::decode(Port(1), &bytes).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(tag in 0u8..24, mut bytes: Vec<u8>) {
        bytes.insert(0, tag);
        let _ = Message::decode(Port(1), &bytes);
    }
}
