//! The numbered messages of a run, and the proof that a log holds every one of them, in order, none twice.

use anyhow::Context;

/// Digits of the sender and of the number, each followed by a dot; the rest of a message is filler.
const SENDER_DIGITS: usize = 4;
const NUMBER_DIGITS: usize = 8;
/// The shortest message that can be told from all others.
pub const MESSAGE_BYTES_MIN: usize = SENDER_DIGITS + NUMBER_DIGITS + 2;
/// The largest number of messages of one sender.
pub const MESSAGES_MAX: u64 = 100_000_000;

/// Message `number` of `sender`, of exactly `bytes` bytes, appended to `to`.
pub fn push_message(to: &mut Vec<u8>, sender: usize, number: u64, bytes: usize) {
    let end = to.len() + bytes;
    push_decimal(to, sender as u64, SENDER_DIGITS);
    to.push(b'.');
    push_decimal(to, number, NUMBER_DIGITS);
    to.push(b'.');
    to.resize(end, b'x');
}

/// Formatting with the standard library would take longer than the run it prepares.
fn push_decimal(to: &mut Vec<u8>, value: u64, digits: usize) {
    let end = to.len() + digits;
    to.resize(end, b'0');
    let mut rest = value;
    for place in to[end - digits..].iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).expect("a digit fits");
        rest /= 10;
    }
}

/// What a log must hold.
#[derive(Debug, Clone)]
pub struct Expected {
    /// How many messages each sender sent, by id.
    pub counts: Vec<u64>,
    /// The length of each message.
    pub bytes: usize,
}

impl Expected {
    /// The messages of all senders together.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The length of a log joined with commas that holds `count` messages.
    pub fn log_bytes(&self, count: u64) -> u64 {
        (count * (self.bytes as u64 + 1)).saturating_sub(1)
    }

    /// Checks a log: every message of every sender, in the order it was sent, none lost, none twice, nothing else.
    pub fn check(&self, log: &[u8]) -> anyhow::Result<()> {
        let mut next = vec![0; self.counts.len()];
        let messages = if log.is_empty() { None } else { Some(log.split(|&byte| byte == b',')) };
        for (place, message) in messages.into_iter().flatten().enumerate() {
            let shown = || String::from_utf8_lossy(&message[..message.len().min(60)]).into_owned();
            let (sender, number) = sender_and_number(message)
                .filter(|_| message.len() == self.bytes)
                .filter(|&(sender, _)| sender < next.len())
                .with_context(|| format!("message {place} of the log, `{}`, was never sent", shown()))?;
            let due = next[sender];
            anyhow::ensure!(
                number == due,
                "message {place} of the log is number {number} of server {sender}, but number {due} is due: {}",
                if number < due { "it came twice or too late" } else { "one was lost or overtaken" }
            );
            next[sender] += 1;
        }
        for (sender, (&came, &sent)) in next.iter().zip(&self.counts).enumerate() {
            anyhow::ensure!(
                came == sent,
                "{came} messages of server {sender} are in the log instead of {sent}"
            );
        }
        Ok(())
    }
}

/// The number of a whole message, whoever sent it.
pub fn number_of(message: &[u8]) -> Option<u64> {
    sender_and_number(message).map(|(_, number)| number)
}

/// The sender and the number of a whole message.
pub fn sender_and_number(message: &[u8]) -> Option<(usize, u64)> {
    let (sender, rest) = message.split_at_checked(SENDER_DIGITS)?;
    let (number, filler) = rest.strip_prefix(b".")?.split_at_checked(NUMBER_DIGITS)?;
    let is_whole = filler.strip_prefix(b".")?.iter().all(|&byte| byte == b'x');
    let sender = usize::try_from(decimal(sender)?).ok()?;
    if is_whole { Some((sender, decimal(number)?)) } else { None }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 20;

    fn expected() -> Expected {
        Expected { counts: vec![3, 2], bytes: BYTES }
    }

    fn log(messages: &[(usize, u64)]) -> Vec<u8> {
        let mut log = Vec::new();
        for &(sender, number) in messages {
            push_message(&mut log, sender, number, BYTES);
            log.push(b',');
        }
        log.pop();
        log
    }

    const GOOD: [(usize, u64); 5] = [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1)];

    #[test]
    fn a_complete_log_in_any_interleaving_passes() {
        expected().check(&log(&GOOD)).unwrap();
        expected().check(&log(&[(1, 0), (1, 1), (0, 0), (0, 1), (0, 2)])).unwrap();
        assert_eq!(log(&GOOD).len() as u64, expected().log_bytes(5));
        assert_eq!(&log(&GOOD)[..=BYTES], b"0000.00000000.xxxxxx,");
    }

    #[test]
    fn a_lost_message_is_caught_wherever_it_is() {
        for lost in 0..GOOD.len() {
            let mut messages = GOOD.to_vec();
            messages.remove(lost);
            assert!(expected().check(&log(&messages)).is_err(), "without message {lost}");
        }
        assert!(expected().check(b"").is_err());
    }

    #[test]
    fn a_doubled_message_is_caught_wherever_it_is() {
        for (first, second) in (0..GOOD.len()).flat_map(|a| (0..=GOOD.len()).map(move |b| (a, b))) {
            let mut messages = GOOD.to_vec();
            messages.insert(second, GOOD[first]);
            assert!(expected().check(&log(&messages)).is_err(), "message {first} again at {second}");
        }
    }

    #[test]
    fn two_swapped_messages_of_one_sender_are_caught() {
        for (a, b) in [(0, 2), (2, 3), (0, 3), (1, 4)] {
            let mut messages = GOOD.to_vec();
            messages.swap(a, b);
            assert!(expected().check(&log(&messages)).is_err(), "{a} and {b} swapped");
        }
    }

    #[test]
    fn what_was_never_sent_is_caught() {
        let good = log(&GOOD);
        for place in 0..good.len() {
            let mut damaged = good.clone();
            damaged[place] = b'?';
            assert!(expected().check(&damaged).is_err(), "byte {place} damaged");
        }
        assert!(expected().check(&[&good[..], b","].concat()).is_err());
        assert!(expected().check(&[&good[..], b"x"].concat()).is_err());
    }
}
