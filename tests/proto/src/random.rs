//! Messages at random, of any kind that a descriptor describes.

use std::ops::AddAssign;

use ovid::rng::Rng;
use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// How far random messages reach: how many fields were set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// Fields of any kind.
    pub fields: u64,
    /// Messages within messages.
    pub messages: u64,
}

impl AddAssign for Reach {
    fn add_assign(&mut self, other: Self) {
        self.fields += other.fields;
        self.messages += other.messages;
    }
}

/// A message with all that it must have, and any of what it may have; and how far it reaches.
pub fn random(rng: &mut Rng, message: &MessageDescriptor) -> (DynamicMessage, Reach) {
    let (mut made, mut reach) = (DynamicMessage::new(message.clone()), Reach::default());
    for field in message.fields() {
        let wanted = match field.cardinality() {
            Cardinality::Required => true,
            _ => rng.below(3) == 0,
        };
        if !wanted {
            continue;
        }
        reach.fields += 1;
        let value = if field.is_list() {
            Value::List((0..rng.below(4)).map(|_| value(rng, &field, &mut reach)).collect())
        } else {
            value(rng, &field, &mut reach)
        };
        made.set_field(&field, value);
    }
    (made, reach)
}

fn value(rng: &mut Rng, field: &FieldDescriptor, reach: &mut Reach) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(rng.below(2) == 0),
        Kind::Int32 => Value::I32(low_half(number(rng)).cast_signed()),
        Kind::Int64 => Value::I64(number(rng).cast_signed()),
        Kind::Uint32 => Value::U32(low_half(number(rng))),
        Kind::Uint64 => Value::U64(number(rng)),
        Kind::String => Value::String(text(rng)),
        Kind::Bytes => {
            Value::Bytes((0..rng.below(40)).map(|_| rng.number().to_le_bytes()[0]).collect::<Vec<_>>().into())
        }
        Kind::Enum(numbers) => {
            let numbers: Vec<_> = numbers.values().map(|value| value.number()).collect();
            Value::EnumNumber(*rng.pick(&numbers).expect("an enum has values"))
        }
        Kind::Message(message) => {
            let (made, more) = random(rng, &message);
            *reach += more;
            reach.messages += 1;
            Value::Message(made)
        }
        other => panic!("{}: fields of kind {other:?} are not made at random yet", field.full_name()),
    }
}

/// Any number, small ones and the ends as often as others.
fn number(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.below(3),
        1 => u64::MAX - rng.below(2),
        2 => i64::MAX.cast_unsigned() + rng.below(2),
        _ => rng.number() >> rng.below(64),
    }
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("it was cut to fit")
}

/// Any text: nothing, with a zero, beyond ASCII, or longer than one byte of length can say.
fn text(rng: &mut Rng) -> String {
    let letters = ['a', 'Z', ' ', '\0', '\n', 'é', '中', '🦊', '\u{10ffff}'];
    let len = if rng.below(20) == 0 { rng.below(400) } else { rng.below(12) };
    (0..len).map(|_| *rng.pick(&letters).expect("there are letters")).collect()
}
