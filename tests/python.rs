//! The tests of the master and of the grader, which are written in Python like what they test.

use std::process::Command;

#[test]
fn the_python_tests_pass() {
    let output = Command::new("python3")
        .args(["-m", "unittest", "discover", "-s", "tests/python"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("python3 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // A run that found nothing to run is no success.
    assert!(said.contains("\nRan ") && !said.contains("\nRan 0 tests"), "{said}");
}
