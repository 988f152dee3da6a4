//! The commands of people and programs who drive a client.

use super::message::Operation;

/// What a client understands, for those who ask.
pub(super) const HELP: &str = "commands: put <key> <value>, get <key>, delete <key>, help";

/// Reads one line; what is wrong with it is said in a sentence, and so is `help`.
pub(super) fn parse(line: &str) -> Result<Operation, Refused> {
    let line = line.trim();
    let (verb, rest) = split(line);
    let operation = match verb {
        "put" => match split(rest) {
            ("", _) | (_, "") => return Err(wrong("put wants a key and a value: put <key> <value>")),
            (key, value) => Operation::Put { key: key.to_owned(), value: value.to_owned() },
        },
        "get" => Operation::Get { key: only_key(verb, rest)? },
        "delete" => Operation::Delete { key: only_key(verb, rest)? },
        "help" => return Err(Refused(HELP.to_owned())),
        "" => return Err(wrong(&format!("an empty command; {HELP}"))),
        other => return Err(wrong(&format!("unknown command {other:?}; {HELP}"))),
    };
    operation.check().map_err(|why| wrong(&why))?;
    Ok(operation)
}

/// What is answered at once, without asking a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

fn wrong(why: &str) -> Refused {
    Refused(format!("error {why}"))
}

fn only_key(verb: &str, rest: &str) -> Result<String, Refused> {
    match split(rest) {
        ("", _) => Err(wrong(&format!("{verb} wants a key: {verb} <key>"))),
        (key, "") => Ok(key.to_owned()),
        (_, more) => Err(wrong(&format!("{verb} wants one key, and there is more: {more:?}"))),
    }
}

/// The first word, and what stands behind it.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(line: &str) -> String {
        parse(line).expect_err("nothing to do").0
    }

    #[test]
    fn commands_are_words_and_the_rest_of_the_line() {
        let put = Operation::Put { key: "k".into(), value: "a  b".into() };
        assert_eq!(parse(" put  k  a  b \r"), Ok(put));
        assert_eq!(parse("get k"), Ok(Operation::Get { key: "k".into() }));
        assert_eq!(parse("delete k"), Ok(Operation::Delete { key: "k".into() }));
        assert_eq!(error("help"), HELP);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_cure() {
        assert_eq!(error("put k"), "error put wants a key and a value: put <key> <value>");
        assert_eq!(error("get"), "error get wants a key: get <key>");
        assert_eq!(error("get a b"), "error get wants one key, and there is more: \"b\"");
        assert_eq!(error("fetch k"), format!("error unknown command \"fetch\"; {HELP}"));
        let long = "k".repeat(257);
        assert_eq!(error(&format!("get {long}")), "error a key has at most 256 bytes, not 257");
        let long = "v".repeat(64 * 1024 + 1);
        assert_eq!(error(&format!("put k {long}")), "error a value has at most 65536 bytes, not 65537");
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line: String) {
            if let Ok(operation) = parse(&line) {
                prop_assert_eq!(operation.check(), Ok(()));
                prop_assert_eq!(parse(&operation.to_string()), Ok(operation));
            }
        }
    }
}
