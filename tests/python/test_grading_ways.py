"""The grader where the machine offers less, and calls of it that are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from test_grading_support import (
    EXAMPLES,
    GRADER,
    PATIENCE_SECONDS,
    SERVE,
    WithFolder,
    grade,
    running,
    write_submission,
    write_tests,
)


class OtherWays(WithFolder):
    """The same grader where the machine offers less."""

    def test_as_a_plain_user(self) -> None:
        if os.geteuid() != 0 or sys.platform != "linux":
            self.skipTest("only root can become somebody else; everybody else runs all tests as a plain user")
        python = next(
            (path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if os.access(path, os.X_OK)),
            None,
        )
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        if python is None or not self._readable(nobody):
            self.skipTest("this checkout, or any Python, cannot be read by others")
        write_tests(self.tests, ["alive", "get"])
        command = [python, str(GRADER), "--submission", str(EXAMPLES / "correct"), "--tests", str(self.tests)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd="/", **nobody
        )
        if "namespaces (your identity" not in done.stderr:
            self.skipTest(f"plain users have no namespaces here: {done.stderr}")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @staticmethod
    def _readable(user: dict) -> bool:
        return subprocess.run(["test", "-r", str(GRADER)], check=False, **user).returncode == 0

    def without_namespaces(self, mode: str, submission: Path, *names: str) -> subprocess.CompletedProcess:
        """Under `unshare` for its network alone: the machine's own ports may be in use."""
        private = (
            ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]
        )
        tried = subprocess.run([*private, "true"], check=False, capture_output=True)
        if tried.returncode != 0:
            self.skipTest("no private network to try this in")
        write_tests(self.tests, list(names))
        words = [
            "--submission",
            submission,
            "--tests",
            self.tests,
            "--isolation",
            mode,
            "--one-pace",
            "--jobs",
            2,
        ]
        inner = " ".join(map(str, [sys.executable, GRADER, *words]))
        return subprocess.run(
            [*private, "sh", "-c", f"ip link set lo up && {inner}"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            cwd="/",
        )

    def test_with_process_groups(self) -> None:
        done = self.without_namespaces("processes", EXAMPLES / "correct", "alive", "fifo")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("not protected: ports are shared", done.stderr)
        self.assertIn("one test at a time", done.stderr)

    def test_with_process_groups_nothing_survives(self) -> None:
        mark = f"86411.{os.getpid()}"
        process = f"(setsid sh -c 'sleep {mark} & sleep {mark}' &)\n{SERVE}"
        submission = write_submission(self.folder / "submission", process)
        done = self.without_namespaces("processes", submission, "alive", "get")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("left running after the end", done.stdout)
        self.assertEqual(running(mark), [])

    def test_with_process_groups_a_fork_bomb_is_ended(self) -> None:
        done = self.without_namespaces("processes", EXAMPLES / "forks-without-end", "alive")
        self.assertEqual(done.returncode, 1)
        self.assertIn("processes and threads (--process-limit)", done.stdout)
        self.assertEqual(running("forks-without-end/server.py"), [])


class Usage(WithFolder):
    """What is wrong with a call is found before anything runs; exit status 2."""

    def refuse(self, reason: str, *words: object) -> None:
        done = grade("--submission", EXAMPLES / "correct", "--tests", self.tests, *words)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn(reason, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_no_tests(self) -> None:
        self.refuse("no tests there")

    def test_half_a_test(self) -> None:
        (self.tests / "half.input").write_text("0 start 1 10000\n")
        self.refuse("half.input has no half.output beside it")

    def test_unknown_report(self) -> None:
        write_tests(self.tests, ["alive"])
        self.refuse("KIND is one of gradescope", "--report", "moodle=x")

    def test_report_that_cannot_be_written(self) -> None:
        write_tests(self.tests, ["alive"])
        self.refuse("cannot be written", "--report", f"json={self.tests}/alive.input/x.json")

    def test_unknown_name(self) -> None:
        write_tests(self.tests, ["alive"])
        self.refuse("-k nothing: no test of that name", "-k", "nothing")

    def test_points_for_nothing(self) -> None:
        write_tests(self.tests, ["alive"])
        (self.tests / "points.json").write_text('{"points": {"alvie": 2}}')
        self.refuse("points of 'alvie': no test has that name")

    def test_no_such_submission(self) -> None:
        write_tests(self.tests, ["alive"])
        self.refuse("no such folder", "--submission", self.folder / "nowhere")

    def test_list(self) -> None:
        write_tests(self.tests, ["alive", "get"])
        done = grade("--tests", self.tests, "--list")
        self.assertEqual((done.returncode, done.stdout), (0, "alive  1\nget  1\n"))


if __name__ == "__main__":
    unittest.main()
