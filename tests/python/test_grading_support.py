"""What the tests of the grader share: running it, writing tests and submissions, watching processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
GRADER = CHECKOUT / "grading" / "grading.py"
EXAMPLES = CHECKOUT / "examples" / "submissions"
CORRECT_SERVER = EXAMPLES / "correct" / "server.py"
PATIENCE_SECONDS = 150

TWO_SERVERS = "0 start 2 10000\n1 start 2 10001\n"
SCRIPTS = {
    "alive": ("0 start 1 10000\n0 alive\n", "alive 0\n"),
    "crash": (TWO_SERVERS + "1 crash\n0 alive\n", "alive 0\n"),
    "fifo": (TWO_SERVERS + "0 broadcast a\n0 broadcast b\nsleep 300\n1 get\n", "messages a,b\n"),
    "get": ("0 start 1 10000\n0 broadcast a\n0 get\n", "messages a\n"),
    "restart": (
        "0 start 1 10000\n0 broadcast a\n0 get\n0 crash\n0 start 1 10000\n0 get\n",
        "messages a\nmessages \n",
    ),
}


def grade(*words: object, **options: object) -> subprocess.CompletedProcess:
    """Run the grader to its end."""
    command = [sys.executable, str(GRADER), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd="/", **options
    )


def namespaces_work() -> bool:
    """Whether this machine lets us make the sandboxes that most of these tests are about."""
    with tempfile.TemporaryDirectory() as folder:
        write_tests(Path(folder), ["alive"])
        done = grade("--submission", EXAMPLES / "correct", "--tests", folder, "--isolation", "namespaces")
    return done.returncode != 2


def write_tests(folder: Path, names: list[str]) -> None:
    for name in names:
        script, expected = SCRIPTS[name]
        (folder / f"{name}.input").write_text(script)
        (folder / f"{name}.output").write_text(expected)


def write_submission(folder: Path, process: str, build: str = "exit 0", stopall: str = "exit 0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("build", build), ("process", process), ("stopall", stopall)):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    shutil.copy(CORRECT_SERVER, folder / "server.py")
    return folder


SERVE = 'exec python3 "$(dirname "$0")/server.py" "$@"'


def wait_for(condition: Callable[[], bool], limit_seconds: float = 30.0) -> bool:
    ends_at = time.monotonic() + limit_seconds
    while time.monotonic() < ends_at:
        if condition():
            return True
        time.sleep(0.02)
    return False


def running(mark: str) -> list[str]:
    """The processes of this machine with `mark` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if mark in words and "grading.py" not in words:
            found.append(words)
    return found


class WithFolder(unittest.TestCase):
    def setUp(self) -> None:
        # Open to others, since the grader gives root's submissions an identity of their own.
        self.folder = Path(tempfile.mkdtemp(prefix="grading-test-")).resolve()
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.tests = self.folder / "tests"
        self.tests.mkdir()


class InSandbox(WithFolder):
    """Tests that need namespaces."""

    works: bool | None = None

    def setUp(self) -> None:
        super().setUp()
        if InSandbox.works is None:
            InSandbox.works = sys.platform == "linux" and namespaces_work()
        if not InSandbox.works:
            self.skipTest("this machine has no namespaces for us")

    def grade_one(self, submission: Path, name: str, *words: object) -> subprocess.CompletedProcess:
        write_tests(self.tests, [name])
        return grade("--submission", submission, "--tests", self.tests, "--one-pace", *words)
