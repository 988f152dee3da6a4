"""The autograder zip, tried as the system that takes it would: unpacked, set up, run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
GRADER = CHECKOUT / "grading" / "grading.py"
EXAMPLES = CHECKOUT / "examples" / "submissions"


class Autograder(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="autograder-test-")).resolve()
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        tests = self.folder / "tests" / "room"
        tests.mkdir(parents=True)
        (tests / "alive.input").write_text("0 start 1 10000\n0 alive\n")
        (tests / "alive.output").write_text("alive 0\n")
        (tests / "get.input").write_text("0 start 1 10000\n0 broadcast a\n0 get\n")
        (tests / "get.output").write_text("messages a\n")
        (tests.parent / "points.json").write_text(
            '{"points": {"room/get": 4}, "visibility": {"room/get": "hidden"}}'
        )

    def zip(self, name: str) -> Path:
        path = self.folder / name
        words = ["--autograder-zip", path, "--tests", self.folder / "tests", "--one-pace", "--limit", "50"]
        subprocess.run([sys.executable, GRADER, *words], check=True, capture_output=True, timeout=60)
        return path

    def run_on(self, submission: Path) -> dict:
        root = self.folder / "autograder"
        root.mkdir(mode=0o755)
        with zipfile.ZipFile(self.zip("a.zip")) as archive:
            archive.extractall(root / "source")
        shutil.copy(root / "source" / "run_autograder", root / "run_autograder")
        # Uploads arrive in a folder of their own, and without their executable bits.
        shutil.copytree(submission, root / "submission" / "lab")
        for name in ("build", "process", "stopall"):
            (root / "submission" / "lab" / name).chmod(0o644)
        for script in ("source/setup.sh", "run_autograder"):
            subprocess.run(
                ["bash", str(root / script)],
                check=True,
                capture_output=True,
                timeout=120,
                cwd="/",
                env={**os.environ, "AUTOGRADER_ROOT": str(root)},
            )
        return json.loads((root / "results" / "results.json").read_text())

    def test_same_tests_same_bytes(self) -> None:
        self.assertEqual(self.zip("a.zip").read_bytes(), self.zip("b.zip").read_bytes())

    def test_contents(self) -> None:
        with zipfile.ZipFile(self.zip("a.zip")) as archive:
            modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
        self.assertEqual((modes["setup.sh"], modes["run_autograder"]), (0o755, 0o755))
        self.assertIn("tests/room/alive.output", modes)
        self.assertIn("master/master.py", modes)
        self.assertIn("tests/points.json", modes)

    def test_correct_submission(self) -> None:
        results = self.run_on(EXAMPLES / "correct")
        self.assertEqual(results["score"], 5, results)
        self.assertEqual([test["status"] for test in results["tests"]], ["passed", "passed"])
        self.assertEqual(results["tests"][1]["visibility"], "hidden")

    def test_wrong_submission(self) -> None:
        submission = self.folder / "mine"
        shutil.copytree(EXAMPLES / "correct", submission)
        text = (submission / "server.py").read_text()
        (submission / "server.py").write_text(text.replace('b"messages "', 'b"message "'))
        results = self.run_on(submission)
        self.assertEqual(results["score"], 1, results)
        self.assertIn("message·a", results["tests"][1]["output"])

    def test_submission_that_does_not_build(self) -> None:
        submission = self.folder / "mine"
        shutil.copytree(EXAMPLES / "correct", submission)
        (submission / "build").write_text("#!/bin/sh\necho no compiler; exit 1\n")
        results = self.run_on(submission)
        self.assertEqual(results["score"], 0)
        self.assertIn("no compiler", results["output"])


if __name__ == "__main__":
    unittest.main()
