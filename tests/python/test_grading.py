"""The grader as its users meet it: real sandboxes, real submissions, right and wrong ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from test_grading_support import (
    EXAMPLES,
    PATIENCE_SECONDS,
    SCRIPTS,
    SERVE,
    InSandbox,
    grade,
    running,
    write_submission,
    write_tests,
)


class Examples(InSandbox):
    """Each example is caught, and for the right reason."""

    def check(self, example: str, test: str, *reasons: str) -> None:
        done = self.grade_one(EXAMPLES / example, test)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, rf"(?m)^{test} wrong \(\d+\.\d s\)$")
        for reason in reasons:
            self.assertIn(reason, done.stdout)

    def test_correct_one_is_correct(self) -> None:
        write_tests(self.tests, list(SCRIPTS))
        done = grade("--submission", EXAMPLES / "correct", "--tests", self.tests, "--jobs", 2)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines[:-1]], sorted(SCRIPTS))
        for line in lines[:-1]:
            self.assertRegex(line, r"^\w+ correct \(\d+\.\d s\)$")
        self.assertRegex(lines[-1], r"^5 of 5 correct; 5 of 5 points \(\d+\.\d s\)$")
        self.assertNotIn("\033", done.stdout + done.stderr)

    def test_loses_fifo(self) -> None:
        self.check(
            "loses-fifo", "fifo", "script line 6: 1·get", "expected: messages·a,b", "came:     messages·b,a"
        )

    def test_misses_a_crash(self) -> None:
        self.check("misses-a-crash", "crash", "script line 4: 0·alive", "came:     alive·0,1", "not ready")

    def test_hangs_on_get(self) -> None:
        self.check(
            "hangs-on-get",
            "get",
            "script line 3: server 0: no answer to `get`",
            "(nothing: the output ends here)",
        )

    def test_hangs_at_start(self) -> None:
        self.check(
            "hangs-at-start",
            "alive",
            "server 0: nothing listens on port 10000",
            "waiting for the others before listening",
        )

    def test_prints_rubbish(self) -> None:
        self.check("prints-rubbish", "get", "Invalid·Response:·I·have·1·messages,·thank·you")

    def test_keeps_its_log(self) -> None:
        self.check(
            "keeps-its-log", "restart", "script line 6: 0·get", "expected: messages", "came:     messages·a"
        )

    def test_forks_away(self) -> None:
        self.check(
            "forks-away",
            "crash",
            "came:     alive·0,1",
            "left running after the end of the test",
            "forks-away/server.py",
        )
        self.assertEqual(running("forks-away/server.py"), [])

    def test_forks_without_end(self) -> None:
        self.check(
            "forks-without-end",
            "alive",
            "it reached its limit of 512 processes and threads (--process-limit)",
        )
        self.assertEqual(running("forks-without-end/server.py"), [])

    def test_kills_by_name(self) -> None:
        if shutil.which("pkill") is None:
            self.skipTest("there is no pkill to kill by name with")
        self.check("kills-by-name", "alive", "master.py was killed by signal 9")

    def test_kills_everyone(self) -> None:
        self.check("kills-everyone", "alive", "master.py was killed by signal 9")

    def test_reads_expected_outputs(self) -> None:
        self.check(
            "reads-expected-outputs", "get", "came:     messages·nothing·to·copy", "expected outputs found: 0"
        )

    def test_every_example_says_why(self) -> None:
        for folder in EXAMPLES.iterdir():
            if folder.is_dir() and folder.name != "correct":
                self.assertTrue((folder / "WHY.md").is_file(), folder)
                self.assertTrue(hasattr(self, f"test_{folder.name.replace('-', '_')}"), folder)


class Build(InSandbox):
    def fail(self, *words: object, **scripts: str) -> str:
        submission = write_submission(self.folder / "submission", SERVE, **scripts)
        done = self.grade_one(submission, "alive", *words)
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        return done.stdout

    def test_failure_shows_the_output(self) -> None:
        said = self.fail(build="echo Main.java:3: error >&2; exit 4")
        self.assertIn("exit status 4", said)
        self.assertIn("Main.java:3: error", said)

    def test_hanging_build_is_ended(self) -> None:
        mark = f"86401.{os.getpid()}"
        said = self.fail("--build-limit", 1, build=f"echo compiling; sleep {mark}")
        self.assertIn("longer than its limit of 1 s (--build-limit)", said)
        self.assertIn("compiling", said)
        self.assertEqual(running(mark), [])

    def test_missing_script(self) -> None:
        submission = write_submission(self.folder / "submission", SERVE)
        (submission / "stopall").unlink()
        done = self.grade_one(submission, "alive")
        self.assertEqual(done.returncode, 3)
        self.assertIn("stopall: missing", done.stdout)

    def test_windows_line_ends_are_named(self) -> None:
        submission = write_submission(self.folder / "submission", SERVE)
        (submission / "process").write_bytes(b"#!/bin/sh\r\nexit 0\r\n")
        done = self.grade_one(submission, "alive")
        self.assertEqual(done.returncode, 3)
        self.assertIn("Windows line ends", done.stdout)

    def test_lost_executable_bit_is_given_back(self) -> None:
        submission = write_submission(self.folder / "submission", SERVE)
        (submission / "process").chmod(0o644)
        done = self.grade_one(submission, "alive")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("process was not executable", done.stderr)

    def test_what_was_built_is_there_in_each_test(self) -> None:
        submission = write_submission(
            self.folder / "submission",
            f"[ -e bin/built ] && {SERVE}",
            build="mkdir bin; touch bin/built; rm unused",
        )
        (submission / "unused").touch()
        done = self.grade_one(submission, "alive")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(
            sorted(path.name for path in submission.iterdir()),
            ["build", "process", "server.py", "stopall", "unused"],
        )


class Paces(InSandbox):
    def test_correct_at_the_labs_pace_counts_and_is_marked(self) -> None:
        late = (
            "import sys, time; sys.argv[0] = 'server.py'; sys.path.insert(0, '.')\n"
            "import server\n"
            "class Late(server.Server):\n"
            "    def take_command(self, master, line):\n"
            "        if not line.startswith(b'broadcast') or time.monotonic() > began + 2:\n"
            "            super().take_command(master, line)\n"
            "began = time.monotonic()\n"
            "Late(*map(int, sys.argv[1:])).run()\n"
        )
        submission = write_submission(self.folder / "submission", 'exec python3 late.py "$@"')
        (submission / "late.py").write_text(late)
        write_tests(self.tests, ["get"])
        report = self.folder / "report.json"
        done = grade("--submission", submission, "--tests", self.tests, "--report", f"json={report}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(
            done.stdout, r"get correct \(\d+\.\d s at the lab's pace; wrong at the pace of readiness, \d"
        )
        self.assertEqual(json.loads(report.read_text())["score"], 1)

    def test_wrong_at_both_says_so(self) -> None:
        write_tests(self.tests, ["fifo"])
        done = grade("--submission", EXAMPLES / "loses-fifo", "--tests", self.tests)
        self.assertRegex(done.stdout, r"fifo wrong \(\d+\.\d s; at the lab's pace also wrong, \d+\.\d s\)")


class Repeating(InSandbox):
    def test_table_of_failure_rates(self) -> None:
        write_tests(self.tests, ["alive", "fifo"])
        done = grade(
            "--submission", EXAMPLES / "loses-fifo", "--tests", self.tests, "--repeat", 3, "--jobs", 2
        )
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^alive +3 +0 +0 %")
        self.assertRegex(done.stdout, r"(?m)^fifo +3 +3 +100 %")

    def test_repeat_command_repeats_just_this_test(self) -> None:
        write_tests(self.tests, ["fifo", "alive"])
        (self.tests / "fifo two.input").write_text(SCRIPTS["fifo"][0])
        (self.tests / "fifo two.output").write_text(SCRIPTS["fifo"][1])
        done = grade(
            "--submission", EXAMPLES / "loses-fifo", "--tests", self.tests, "--one-pace", "--jobs", 2
        )
        command = next(line for line in done.stdout.splitlines() if "fifo two" in line and "repeat" in line)
        again = subprocess.run(
            command.split(": ", 1)[1],
            shell=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            cwd="/",
            check=False,
        )
        self.assertRegex(again.stdout, r"(?m)^fifo two wrong", command)
        self.assertIn("0 of 1 correct", again.stdout)


if __name__ == "__main__":
    unittest.main()
