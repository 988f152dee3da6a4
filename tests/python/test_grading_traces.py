"""Pages of wrong tests: who gets one, and that a submission cannot misuse the way that they take."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from test_grading_support import SCRIPTS, InSandbox, grade, write_submission, write_tests

# A drawer that tells in its page what it was given, and fails where it is told to.
OVID = """#!/bin/sh
[ "$1 $2" = "trace html" ] && [ "$4 $6" = "-o --title" ] || exit 9
if grep -q spoiled "$3"/*.jsonl; then echo "ovid: line 1: spoiled" >&2; exit 2; fi
{ echo "page of $7"; cd "$3" && for file in *; do echo "$file: $(cat "$file")"; done; } >"$5"
"""
WRITE = 'mkdir -p "$OVID_TRACE_DIR"; echo "server $1" >"$OVID_TRACE_DIR/server-$1.jsonl"\n'
SERVE = 'exec python3 "$(dirname "$0")/server.py" "$@"'


class Pages(InSandbox):
    def setUp(self) -> None:
        super().setUp()
        self.ovid = self.folder / "ovid"
        self.ovid.write_text(OVID)
        self.ovid.chmod(0o755)
        self.pages = self.folder / "pages"
        write_tests(self.tests, ["alive", "get"])
        # One of the two is always wrong.
        (self.tests / "get.output").write_text("messages b\n")

    def grade(self, writing: str, *words: object) -> subprocess.CompletedProcess:
        submission = write_submission(self.folder / "submission", writing + SERVE)
        environment = {**os.environ, "OVID_BIN": str(self.ovid)}
        return grade(
            "--submission", submission, "--tests", self.tests, "--trace", self.pages, *words, env=environment
        )

    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.pages)) for path in self.pages.rglob("*") if path.is_file())

    def test_each_wrong_test_leaves_a_page(self) -> None:
        for words in (
            ["--one-pace"],
            ["--one-pace", "--isolation", "processes"],
            ["--repeat", 2, "--jobs", 2],
        ):
            with self.subTest(words=words):
                done = self.grade(WRITE, *words)
                page = self.pages / "get.html"
                self.assertIn(f"trace: {page}\n", done.stdout, done.stderr)
                self.assertEqual(page.read_text(), "page of get\nserver-0.jsonl: server 0\n")
                self.assertEqual(self.left(), ["get.html"])
                page.unlink()

    def test_a_page_vanishes_when_its_test_is_right(self) -> None:
        self.grade(WRITE, "--one-pace")
        self.assertEqual(self.left(), ["get.html"])
        (self.tests / "get.output").write_text(SCRIPTS["get"][1])
        done = self.grade(WRITE, "--one-pace")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertNotIn("trace", done.stdout)
        self.assertEqual(self.left(), [])

    def test_servers_that_write_nothing_are_told_apart(self) -> None:
        done = self.grade("", "--one-pace")
        self.assertIn("trace: none, since these servers write nothing into OVID_TRACE_DIR", done.stdout)
        self.assertEqual(self.left() if self.pages.exists() else [], [])

    def test_links_and_pipes_are_left_alone(self) -> None:
        secret = self.folder / "secret"
        secret.write_text("secret")
        traps = f'ln -s {secret} "$OVID_TRACE_DIR/link.jsonl"; mkfifo "$OVID_TRACE_DIR/pipe.jsonl"\n'
        for mode in ("namespaces", "processes"):
            with self.subTest(mode=mode):
                self.grade(WRITE + traps, "--one-pace", "--isolation", mode)
                page = (self.pages / "get.html").read_text()
                self.assertEqual(page, "page of get\nserver-0.jsonl: server 0\n")
        # The folder itself may be a link as well.
        link = f'rm -rf "$OVID_TRACE_DIR"; ln -s {self.folder} "$OVID_TRACE_DIR"\n'
        (self.folder / "other.jsonl").write_text("secret")
        done = self.grade(link, "--one-pace")
        self.assertIn("trace: none", done.stdout)

    def test_what_cannot_be_drawn_is_kept(self) -> None:
        done = self.grade(WRITE.replace("server $1", "spoiled"), "--one-pace")
        kept = self.pages / "get"
        self.assertIn(
            "trace: it cannot be drawn: ovid: line 1: spoiled; to draw it: ovid trace html", done.stdout
        )
        self.assertEqual((kept / "server-0.jsonl").read_text(), "spoiled\n")


if __name__ == "__main__":
    unittest.main()
