//! The papers' experiments as people call them, small.

use std::process::{Command, Output};

use serde_json::Value;

fn overlay(args: &[&str]) -> Output {
    let sim = ["sim", "overlay"].iter().chain(args);
    Command::new(env!("CARGO_BIN_EXE_ovid")).args(sim).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The only value of `what` at `at` in a report of one seed.
fn value(report: &Value, what: &str, at: &str) -> f64 {
    report["values"][what][at][0].as_f64().unwrap_or_else(|| panic!("{what} at {at}: {report}"))
}

#[test]
fn a_small_overlay_is_one_graph_of_short_paths_and_the_jobs_change_nothing() {
    let report = |jobs: &str| {
        let args = ["--experiment", "paths", "--nodes", "100", "--seeds", "2", "--jobs", jobs, "--json"];
        let mut report: Value = serde_json::from_slice(&overlay(&args).stdout).expect("one line of JSON");
        assert!(report.as_object_mut().expect("an object").remove("elapsed_ms").is_some());
        report
    };
    let one = report("1");
    assert_eq!(one, report("2"));
    assert!(value(&one, "unreachable", "0").abs() < f64::EPSILON, "{one}");
    assert!((2.0..5.0).contains(&value(&one, "mean", "0")), "{one}");
    assert!(value(&one, "hops", "0") >= value(&one, "longest", "0") / 2.0, "{one}");
}

#[test]
fn a_report_has_the_papers_figures_the_model_the_goals_and_a_plot() {
    let folder = tempfile::tempdir().expect("a folder");
    let plots = folder.path().join("plots");
    let args = ["--experiment", "degree", "--nodes", "60", "--seeds", "1", "--failure-model", "send"];
    let plots_arg = ["--svg", plots.to_str().expect("UTF-8")];
    let output = overlay(&[&args[..], &plots_arg].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = text(&output.stdout);
    for part in
        ["60 nodes, seed 1; failure model send", "| 99.80 ", "nodes with full in-degree", "at least 99.8 %"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    let args = ["--experiment", "paths", "--nodes", "60", "--seeds", "1"];
    assert_eq!(overlay(&[&args[..], &plots_arg].concat()).status.code(), Some(0));
    let svg = std::fs::read_to_string(plots.join("overlay-paths.svg")).expect("a plot");
    assert!(svg.starts_with("<svg ") && svg.contains("pairs of nodes, %"), "{svg}");
}

#[test]
fn halves_that_were_cut_off_become_one_overlay_again() {
    let args = ["--experiment", "partition", "--nodes", "60", "--seeds", "1", "--json"];
    let report: Value = serde_json::from_slice(&overlay(&args).stdout).expect("one line of JSON");
    assert!(value(&report, "islands", "60") >= 2.0, "nobody heard the other half: {report}");
    assert!(value(&report, "together", "0") <= 30.0, "{report}");
    assert!((value(&report, "reached", "0") - 100.0).abs() < f64::EPSILON, "{report}");
}

#[test]
fn mistakes_are_explained() {
    let mistakes: [(&[&str], &str); 6] = [
        (
            &["--experiment", "degrees"],
            "[possible values: reliability, healing, degree, paths, plumtree, churn, partition",
        ),
        (&["--nodes", "10"], "--experiment <NAME>"),
        (&["--active-size", "3"], "options of an overlay are for --experiment"),
        (&["--experiment", "degree", "--runs", "3"], "--runs is for scenarios"),
        (&["--experiment", "degree", "--k-active", "9"], "k_active = 9: at most active_size"),
        (&["--experiment", "degree", "--svg", "/dev/null/plots"], "folder for plots /dev/null/plots"),
    ];
    for (args, what) in mistakes {
        let output = overlay(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(what), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
    }
}
