"""What a submission may not take, see or change, and that nothing of it outlives the grader."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from test_grading_support import (
    CHECKOUT,
    EXAMPLES,
    GRADER,
    PATIENCE_SECONDS,
    SERVE,
    InSandbox,
    grade,
    running,
    wait_for,
    write_submission,
    write_tests,
)


class Limits(InSandbox):
    """A submission that takes too much is ended, and told what it took too much of."""

    def check(self, process: str, reason: str, *words: object) -> str:
        submission = write_submission(self.folder / "submission", process)
        done = self.grade_one(submission, "alive", *words)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn(reason, done.stdout)
        return done.stdout

    def test_memory(self) -> None:
        hog = "exec python3 -c 'x = []\nwhile True: x.append(bytearray(b\"x\") * 10_000_000)'"
        self.check(hog, "it reached its limit of memory, 200 MiB", "--memory-limit-mib", 200)

    def test_disk(self) -> None:
        self.check(
            f"cat /dev/zero >/tmp/fill\n{SERVE}", "it filled its disk of 50 MiB", "--disk-limit-mib", 50
        )

    def test_disk_in_its_own_folder(self) -> None:
        self.check(f"cat /dev/zero >fill\n{SERVE}", "it filled its disk of 50 MiB", "--disk-limit-mib", 50)

    def test_output(self) -> None:
        # All of it is printed before the server lives, however soon the test is over then.
        prints = f"yes | head -c 3000000\n{SERVE}"
        self.check(prints, "it printed more than its limit of 2 MiB", "--output-limit-mib", 2)

    def test_time(self) -> None:
        submission = write_submission(self.folder / "submission", SERVE)
        (self.tests / "long.input").write_text("0 start 1 10000\n0 alive\nsleep 600000\n")
        (self.tests / "long.output").write_text("alive 0\n")
        done = grade("--submission", submission, "--tests", self.tests, "--limit", 2)
        self.assertEqual(done.returncode, 1, done.stdout)
        # The partial output is kept: the first line was right, and nothing came again at the lab's pace.
        self.assertIn("line 2 of the output", done.stdout)
        self.assertIn("came:     Timeout!", done.stdout)
        self.assertNotIn("lab's pace", done.stdout)

    def test_time_of_a_master_that_was_stopped(self) -> None:
        said = self.check(
            f"kill -STOP $PPID\n{SERVE}", "it ran longer than its limit of 1 s (--limit)", "--limit", 1
        )
        self.assertIn("during script line 1", said)

    def test_nothing_survives(self) -> None:
        mark = f"86400.{os.getpid()}"
        process = f"(setsid sleep {mark} &)\ntrap '' TERM\n{SERVE}"
        submission = write_submission(self.folder / "submission", process, stopall="trap '' TERM\nsleep 1")
        done = self.grade_one(submission, "alive")
        self.assertIn("left running after the end of the test", done.stdout)
        self.assertIn(f"sleep {mark}", done.stdout)
        self.assertEqual(running(mark), [])

    def test_control_groups_are_removed(self) -> None:
        write_tests(self.tests, ["alive"])
        process = subprocess.Popen(
            [sys.executable, GRADER, "--submission", EXAMPLES / "correct", "--tests", self.tests],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.assertEqual(process.wait(PATIENCE_SECONDS), 0)
        left = [
            path for path in Path("/sys/fs/cgroup").glob(f"**/ovid-grader-{process.pid}-*") if path.is_dir()
        ]
        self.assertEqual(left, [])


class Protection(InSandbox):
    """What a submission cannot see or change."""

    def say(self, commands: str, *words: object) -> str:
        """What the shell commands of a submission say on standard error, out of a test that fails."""
        submission = write_submission(self.folder / "submission", f"{{ {commands}; }} >&2 2>&1\n{SERVE}")
        (self.tests / "wrong.input").write_text("0 start 1 10000\n0 alive\n")
        (self.tests / "wrong.output").write_text("secret expectation\n")
        done = grade("--submission", submission, "--tests", self.tests, "--one-pace", *words)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return "\n".join(line for line in done.stdout.splitlines() if line.startswith("      | "))

    def test_expected_outputs_grader_and_reports_look_empty(self) -> None:
        report = self.folder / "reports" / "report.json"
        report.parent.mkdir()
        report.write_text("an older report")
        (self.tests.parent / ".git").mkdir()
        (self.tests.parent / ".git" / "objects").write_text("history")
        looked_at = (
            f"{self.tests} {report.parent} {CHECKOUT}/grading {CHECKOUT}/tests {self.tests.parent}/.git"
        )
        said = self.say(
            f"for d in {looked_at}; do echo $d has $(ls $d 2>/dev/null | wc -l); done",
            "--report",
            f"json={report}",
        )
        self.assertEqual(said.count(" has 0"), 5, said)
        self.assertIn("secret", report.read_text())

    def test_nothing_but_its_own_places_can_be_written(self) -> None:
        places = f"{CHECKOUT}/master /etc /usr / /sys"
        said = self.say(
            f"for d in {places}; do touch $d/x 2>/dev/null && echo wrote $d; done; touch own /tmp/own && echo fine"
        )
        self.assertIn("fine", said)
        self.assertNotIn("wrote", said)

    def test_its_changes_vanish(self) -> None:
        said = self.say("ls; touch left-behind", "--repeat", 2)
        self.assertNotIn("left-behind", said)
        self.assertFalse((self.folder / "submission" / "left-behind").exists())

    def test_the_master_cannot_be_written_to(self) -> None:
        # The parent of ./process is the master, and the first process watches over the sandbox.
        said = self.say(
            "for p in 1 $PPID; do ls /proc/$p/fd >/dev/null 2>&1 && echo entered; done; echo tried"
        )
        self.assertIn("tried", said)
        self.assertNotIn("entered", said)

    def test_the_environment_has_no_secrets(self) -> None:
        os.environ["GITHUB_TOKEN_FOR_TEST"] = "do-not-tell"
        self.addCleanup(os.environ.pop, "GITHUB_TOKEN_FOR_TEST")
        said = self.say("env; tr '\\0' '\\n' </proc/1/environ; true")
        self.assertIn("PATH=", said)
        self.assertNotIn("do-not-tell", said)

    def test_the_network_is_its_own(self) -> None:
        said = self.say("cat /proc/net/dev | cut -d: -f1 | tail -n +3; true")
        self.assertEqual([line.strip(" |") for line in said.splitlines()], ["lo"])


class Interruption(InSandbox):
    def start(self, mark: str) -> subprocess.Popen:
        submission = write_submission(self.folder / "submission", f"sleep {mark} &\n{SERVE}")
        write_tests(self.tests, ["alive"])
        (self.tests / "long.input").write_text("0 start 1 10000\nsleep 600000\n")
        (self.tests / "long.output").write_text("\n")
        self.report = self.folder / "report.json"
        words = [
            "--submission",
            submission,
            "--tests",
            self.tests,
            "--limit",
            "1000",
            "--report",
            f"json={self.report}",
        ]
        process = subprocess.Popen(
            [sys.executable, str(GRADER), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.addCleanup(process.stdout.close)
        # The first test is over when its line is there; then the second one's sleep is what runs.
        self.assertIn("alive correct", process.stdout.readline())
        self.assertTrue(wait_for(lambda: running(mark)))
        return process

    def check_signal(self, number: int) -> None:
        mark = f"8640{number}.{os.getpid()}"
        process = self.start(mark)
        process.send_signal(number)
        said = process.stdout.read()
        self.assertEqual(process.wait(PATIENCE_SECONDS), 128 + number)
        self.assertIn("long not run", said)
        self.assertTrue(wait_for(lambda: not running(mark)))
        report = json.loads(self.report.read_text())
        self.assertEqual([test["verdict"] for test in report["tests"]], ["correct", "not run"])

    def test_ctrl_c(self) -> None:
        self.check_signal(signal.SIGINT)

    def test_termination(self) -> None:
        self.check_signal(signal.SIGTERM)

    def test_a_killed_grader_leaves_nothing(self) -> None:
        mark = f"86409.{os.getpid()}"
        process = self.start(mark)
        process.kill()
        process.wait(PATIENCE_SECONDS)
        self.assertTrue(wait_for(lambda: not running(mark)))


if __name__ == "__main__":
    unittest.main()
