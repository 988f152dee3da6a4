//! `ovid sim` as people call it.

use std::process::{Command, Output};

use ovid::trace::Event;

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ovid")).arg("sim").args(args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_run_says_what_was_run_and_how_fast() {
    let output =
        sim(&["flood", "--servers", "5", "--seed", "3", "--runs", "4", "--steps", "20", "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "", "no bar where nobody looks");
    let report = text(&output.stdout);
    for part in
        ["carrier stream", "failure model rst", "seeds 3 to 6", "events/s", "simulated", "nothing went wrong"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
}

#[test]
fn the_number_of_jobs_changes_nothing_but_the_time() {
    let report = |jobs: &str| {
        let args =
            ["flood", "--servers", "4", "--steps", "10", "--runs", "8", "--json", "--wire", "--jobs", jobs];
        let mut report: serde_json::Value = serde_json::from_slice(&sim(&args).stdout).expect("JSON");
        let report = report.as_object_mut().expect("an object");
        assert!(report.remove("elapsed_us").is_some() && report.remove("events_per_second").is_some());
        report.clone()
    };
    let one = report("1");
    assert_eq!(one, report("3"));
    assert_eq!((one["runs"].as_u64(), one["violation"].is_null()), (Some(8), true));
}

#[test]
fn a_trace_is_written_for_a_single_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.jsonl");
    let output = sim(&["flood", "--servers", "3", "--steps", "5", "--trace", path.to_str().expect("UTF-8")]);
    let trace = std::fs::read_to_string(&path).expect("a trace");
    let events: Vec<Event> =
        trace.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let events = events.len();
    assert!(events > 20);
    assert!(text(&output.stdout).contains(&format!("trace: {events} events")), "{output:?}");
}

#[test]
fn mistakes_are_explained() {
    let mistakes: [(&[&str], &str); 6] = [
        (&["fload"], "there is no scenario \"fload\"; known are"),
        (&["flood", "--faults", "fire"], "there is no fault \"fire\"; known are loss,"),
        (&["flood", "--faults", "loss"], "flood on stream takes no fault \"loss\"; it takes break,"),
        (&["flood", "--servers", "0"], "needs at least one server"),
        (&["flood", "--runs", "0"], "--runs 0"),
        (&["flood", "--trace", "/no/such/folder/trace"], "cannot write the trace to /no/such/folder/trace"),
    ];
    for (args, what) in mistakes {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(what), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn the_list_names_scenarios_and_their_faults() {
    let list = text(&sim(&["list"]).stdout);
    assert!(
        list.contains("flood: ") && list.contains("faults on datagram: duplicate,reorder,pause"),
        "{list}"
    );
}
