"""Reports: their shapes, from made-up results; what is odd in an output must not break them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "grading"))

import reports
from cases import Case, UsageError
from run import CORRECT, NOT_RUN, WRONG, Result

ODD = "bell \x07 escape \x1b[31m ]]> <&\"' half \udc80 nul \x00 # \\ café"


def summary(**values: object) -> reports.Summary:
    right = Result(Case("chatroom/right", "", "", "", points=2.0), CORRECT, 1.25, runs=1)
    wrong = Result(
        Case("chatroom/wrong #1", "", "", "", points=3.0, visibility="after_due_date"),
        WRONG,
        0.5,
        explanation=f"line 1 differs {ODD}\nmore",
        came=ODD,
        runs=1,
        wrong_runs=1,
    )
    missing = Result(Case("missing", "", "", ""), NOT_RUN)
    return reports.Summary([right, wrong, missing], 3.6, 1_700_000_000.0, **values)


class Shapes(unittest.TestCase):
    def test_gradescope(self) -> None:
        report = json.loads(reports.gradescope(summary()))
        self.assertEqual((report["score"], report["execution_time"]), (2, 4))
        self.assertEqual((report["visibility"], report["stdout_visibility"]), ("visible", "hidden"))
        self.assertEqual([test["status"] for test in report["tests"]], ["passed", "failed", "failed"])
        self.assertEqual([test["score"] for test in report["tests"]], [2, 0, 0])
        self.assertEqual([test["max_score"] for test in report["tests"]], [2, 3, 1])
        self.assertEqual(report["tests"][1]["visibility"], "after_due_date")
        self.assertEqual(report["tests"][1]["number"], "2")
        self.assertIn("not run", report["tests"][2]["output"])
        self.assertEqual(report["leaderboard"][0]["order"], "asc")

    def test_classroom50(self) -> None:
        environment = {
            "SUBMISSION_TAG": "submit/1",
            "GITHUB_REPOSITORY": "school/lab",
            "GITHUB_SHA": "abc",
            "GITHUB_SERVER_URL": "https://example.org",
            "CLASSROOM": "room",
            "ASSIGNMENT": "chat",
        }
        with mock.patch.dict(os.environ, environment):
            report = json.loads(reports.classroom50(summary()))
        self.assertEqual(report["schema"], "classroom50/result/v1")
        self.assertEqual((report["classroom"], report["assignment"]), ("room", "chat"))
        self.assertEqual(report["submission"], "submit/1")
        self.assertEqual(report["commit"], "https://example.org/school/lab/commit/abc")
        self.assertEqual(report["release"], "https://example.org/school/lab/releases/tag/submit%2F1")
        self.assertEqual((report["score"], report["max-score"]), (2, 6))
        self.assertEqual(
            report["tests"][0], {"test-name": "chatroom/right", "passed": True, "score": 2, "max-score": 2}
        )

    def test_prairielearn(self) -> None:
        report = json.loads(reports.prairielearn(summary()))
        self.assertIs(report["gradable"], True)
        self.assertAlmostEqual(report["score"], 2 / 6, places=5)
        self.assertEqual([test["points"] for test in report["tests"]], [2, 0, 0])
        self.assertEqual([test["max_points"] for test in report["tests"]], [2, 3, 1])

    def test_prairielearn_stays_under_its_limit(self) -> None:
        many = summary()
        many.results = [
            Result(Case(f"t{number}", "", "", ""), WRONG, explanation="é" * 100_000) for number in range(200)
        ]
        text = reports.prairielearn(many)
        self.assertLessEqual(len(text.encode()), 1_000_000)
        self.assertEqual(len(json.loads(text)["tests"]), 200)

    def test_autolab_is_one_line(self) -> None:
        text = reports.autolab(summary(problem="chat"))
        self.assertEqual(text.count("\n"), 1)
        self.assertEqual(json.loads(text), {"scores": {"chat": 2}, "scoreboard": [2]})

    def test_junit(self) -> None:
        suite = xml.etree.ElementTree.fromstring(reports.junit(summary())).find("testsuite")
        counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
        self.assertEqual(counts, {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"})
        self.assertRegex(suite.get("timestamp"), r"^2023-11-14T22:13:20$")
        first, second, third = suite.findall("testcase")
        self.assertEqual((first.get("classname"), first.get("name")), ("chatroom", "right"))
        self.assertIn("line 1 differs", second.find("failure").get("message"))
        self.assertIn("café", second.find("failure").text)
        self.assertIn("café", second.find("system-out").text)
        self.assertIsNotNone(third.find("skipped"))

    def test_tap(self) -> None:
        lines = reports.tap(summary()).splitlines()
        self.assertEqual(lines[:2], ["TAP version 14", "1..3"])
        points = [line for line in lines if re.match(r"(not )?ok \d", line)]
        self.assertEqual(len(points), 3)
        self.assertRegex(points[0], r"^ok 1 - chatroom/right # time=1250ms$")
        self.assertRegex(points[1], r"^not ok 2 - chatroom/wrong \\#1 # time=500ms$")
        block = lines[lines.index(points[1]) + 1 : lines.index(points[2])]
        self.assertEqual((block[0], block[-1]), ("  ---", "  ..."))
        message = next(line for line in block if line.startswith("  message: "))
        self.assertIn("line 1 differs", json.loads(message[len("  message: ") :]))

    def test_csv(self) -> None:
        rows = list(csv.reader(io.StringIO(reports.csv_table(summary()))))
        self.assertEqual(rows[0], ["name", "score", "max_score", "seconds", "verdict"])
        self.assertEqual(rows[2], ["chatroom/wrong #1", "0", "3", "0.500", "wrong"])

    def test_json(self) -> None:
        report = json.loads(reports.json_report(summary()))
        self.assertEqual((report["correct"], report["wrong"], report["not_run"]), (1, 1, 1))
        self.assertEqual(report["tests"][1]["verdict"], "wrong")

    def test_odd_characters_leave_every_report_readable(self) -> None:
        for name, render in reports.KINDS.items():
            text = render(summary(message=ODD))
            text.encode("utf-8")  # no half character
            self.assertEqual(re.findall(r"[\x00-\x08\x0b-\x1f\x7f]", text), [], name)

    def test_failed_build_is_in_every_report(self) -> None:
        failed = summary(message="build: exit status 4\nMain.java:3", build_failed=True)
        failed.results = [Result(result.case, NOT_RUN) for result in failed.results]
        for name in ("gradescope", "prairielearn", "junit", "tap", "json"):
            self.assertIn("Main.java:3", reports.KINDS[name](failed), name)
        self.assertEqual(json.loads(reports.gradescope(failed))["score"], 0)
        suite = xml.etree.ElementTree.fromstring(reports.junit(failed)).find("testsuite")
        self.assertEqual((suite.get("errors"), suite.get("skipped")), ("3", "0"))
        self.assertEqual(json.loads(reports.autolab(failed))["scoreboard"], [0])


class Files(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name) / "new" / "report"

    def test_several_at_once_and_autolab_last(self) -> None:
        wanted = reports.parse([f"autolab={self.path}.autolab", "csv=-", f"json={self.path}.json"])
        printed = reports.write(wanted, summary()).splitlines()
        self.assertEqual(printed[0], "name,score,max_score,seconds,verdict")
        self.assertEqual(json.loads(printed[-1])["scoreboard"], [2])
        self.assertEqual(sorted(os.listdir(self.path.parent)), ["report.autolab", "report.json"])

    def test_a_report_is_whole_or_as_before(self) -> None:
        self.path.parent.mkdir()
        self.path.write_text("before")
        with mock.patch("os.fsync", side_effect=OSError("full")), self.assertRaises(OSError):
            reports.write_whole(str(self.path), b"half")
        self.assertEqual(self.path.read_text(), "before")
        self.assertEqual(os.listdir(self.path.parent), ["report"])

    def test_refusals(self) -> None:
        for text in ("json", "json=", "moodle=x", f"json={self.folder.name}"):
            with self.assertRaises(UsageError, msg=text):
                reports.parse([text])


if __name__ == "__main__":
    unittest.main()
