"""The grader's parts that need no sandbox: finding, comparing, explaining, copying, counting."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "grading"))

import cases
import census
import cgroups
import options
import ports
import run
import verdict
import view
from order import Limits, Order, Outcome
from progress import Progress
from sandbox import Finished
from verdict import Record

SCRIPT = "0 start 1 10000\n0 alive\n"


def record(*events: dict) -> Record:
    return Record.read(b"".join(json.dumps(event).encode() + b"\n" for event in events))


class Finding(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name in ("a/alive", "a/alive-two", "b/get"):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".input").write_bytes(b"0 start 1 10000\r\n")
            path.with_suffix(".output").write_text("x\n")

    def names(self, *patterns: str) -> list[str]:
        return [case.name for case in cases.select(cases.find_cases(str(self.folder)), list(patterns))]

    def points(self, name: str, text: str) -> dict[str, float]:
        (self.folder / name).write_text(text)
        return {case.name: case.points for case in cases.find_cases(str(self.folder))}

    def test_recursive_sorted_and_untouched(self) -> None:
        self.assertEqual(self.names(), ["a/alive", "a/alive-two", "b/get"])
        self.assertEqual(cases.find_cases(str(self.folder))[0].script, "0 start 1 10000\r\n")

    def test_patterns(self) -> None:
        self.assertEqual(self.names("alive"), ["a/alive", "a/alive-two"])
        self.assertEqual(self.names("a/alive"), ["a/alive"])
        self.assertEqual(self.names("*two", "b/*"), ["a/alive-two", "b/get"])

    def test_output_without_input(self) -> None:
        (self.folder / "b" / "get.input").unlink()
        with self.assertRaisesRegex(cases.UsageError, r"get\.output has no get\.input beside it"):
            self.names()

    def test_whole_name_has_the_last_word_and_a_later_glob_beats_an_earlier_one(self) -> None:
        found = self.points("points.json", '{"points": {"a/alive": 5, "*": 2, "a/*": 3}}')
        self.assertEqual(found, {"a/alive": 5, "a/alive-two": 3, "b/get": 2})

    @unittest.skipIf(sys.version_info < (3, 11), "TOML is read from Python 3.11 on")
    def test_toml(self) -> None:
        self.assertEqual(self.points("points.toml", '[points]\n"b/get" = 1.5\n')["b/get"], 1.5)

    @unittest.skipIf(sys.version_info >= (3, 11), "TOML is read here")
    def test_toml_on_an_old_python_names_the_cure(self) -> None:
        with self.assertRaisesRegex(cases.UsageError, r"write it as points\.json"):
            self.points("points.toml", "[points]\n")

    def test_bad_points(self) -> None:
        for text in ('{"points": {"b/get": -1}}', '{"points": {"b/get": true}}', '{"point": {}}', "[]", "{"):
            with self.assertRaisesRegex(cases.UsageError, r"points\.json"):
                self.points("points.json", text)

    def test_visibility(self) -> None:
        self.points("points.json", '{"visibility": {"b/get": "hidden"}}')
        self.assertEqual(
            [case.visibility for case in cases.find_cases(str(self.folder))], ["visible", "visible", "hidden"]
        )


class Comparing(unittest.TestCase):
    def test_ends_are_stripped_and_nothing_else(self) -> None:
        self.assertTrue(verdict.same("a b\n", "\n a b  \n\n"))
        self.assertFalse(verdict.same("a b\nc", "a b \nc"))

    def test_white_space_and_control_characters_are_visible(self) -> None:
        self.assertEqual(verdict.visible("a b\tc\r\x07\u00a0\udc80é"), "a·b→c␍\\u{7}⍽\\x80é")

    def test_first_differing_script_line_despite_leading_blank_lines(self) -> None:
        said = record(
            {"event": "command", "line": 7, "text": "0 get"},
            {"event": "message", "line": 3, "text": ""},
            {"event": "answer", "line": 5, "text": "alive 0"},
            {"event": "answer", "line": 7, "text": "messages b"},
        )
        lines = verdict.explain("alive 0\nmessages a\n", "\nalive 0\nmessages b\n", said, False)
        self.assertEqual(lines[0], "line 2 of the output, from script line 7: 0·get")
        self.assertEqual(lines[1:3], ["  expected: messages·a", "  came:     messages·b"])
        self.assertEqual(lines[3], "  the first difference is at character 10")

    def test_long_lines_are_cut_around_the_difference(self) -> None:
        lines = verdict.explain("x" * 1000 + "A" + "y" * 1000, "x" * 1000 + "B" + "y" * 1000, Record(), False)
        self.assertEqual(
            lines[1], "  expected: [970 characters] " + "x" * 30 + "A" + "y" * 49 + " [951 more]"
        )
        self.assertIn("character 1001", lines[3])

    def test_only_white_space_differs(self) -> None:
        self.assertIn(
            "white space is the only difference", verdict.explain("a b", "a  b", Record(), False)[-1]
        )
        self.assertIn(
            "line ends are the only difference", verdict.explain("a\nb", "a\r\nb", Record(), False)[-1]
        )

    def test_missing_and_extra_lines(self) -> None:
        missing = verdict.explain("a\nb\nc", "a", Record(), False)
        self.assertIn("(nothing: the output ends here)", missing[2])
        self.assertIn("c", missing[3])
        extra = verdict.explain("a", "a\nb\nc", Record(), False)
        self.assertIn("(no further line)", extra[1])
        self.assertIn("and 1 more lines", extra[3])

    def test_expected_can_be_hidden(self) -> None:
        for came in ("public", "", "secret\nmore", "secre t"):
            for wanted in ("secret", "secret\nsecret\nsecret"):
                if came != wanted:
                    said = "\n".join(verdict.explain(wanted, came, Record(), True))
                    self.assertNotIn("expected:", said)
                    if "secre" not in came:
                        self.assertNotIn("secret", said)

    def test_causes(self) -> None:
        ended = record({"event": "end", "status": 0})
        limits = Limits(memory_bytes=5 << 20)
        self.assertIsNone(verdict.cause(Outcome(status=1), ended, limits))
        self.assertIn("killed by signal 9", verdict.cause(Outcome(status=-9), ended, limits))
        self.assertIn("5 MiB", verdict.cause(Outcome(limit="memory"), ended, limits))
        self.assertIn("before the end of the script", verdict.cause(Outcome(status=0), Record(), limits))
        self.assertIn("before the end of the script", verdict.cause(Outcome(status=3), ended, limits))

    def test_a_record_that_is_cut_off_is_read_as_far_as_it_goes(self) -> None:
        said = Record.read(b'{"event":"command","line":1,"text":"0 get"}\n{"event":"answ')
        self.assertEqual((len(said.commands), said.ended), (1, False))


class Copying(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.source, self.target = Path(folder.name) / "from", Path(folder.name) / "to"
        self.source.mkdir()

    def copy(self, left_out: list[str] | None = None, bytes_max: int | None = None) -> None:
        view.copy_tree(str(self.source), str(self.target), None, left_out or [], bytes_max)

    def test_links_stay_links_and_odd_files_stay_away(self) -> None:
        (self.source / "link").symlink_to("/etc/passwd")
        (self.source / "folder-link").symlink_to("/etc")
        os.mkfifo(self.source / "pipe")
        (self.source / "run").write_text("x")
        (self.source / "run").chmod(0o4755)
        self.copy()
        self.assertEqual(os.readlink(self.target / "link"), "/etc/passwd")
        self.assertTrue((self.target / "folder-link").is_symlink())
        self.assertFalse((self.target / "pipe").exists())
        self.assertEqual((self.target / "run").stat().st_mode & 0o7777, 0o755)

    def test_times_stay_and_what_is_hidden_is_left_out(self) -> None:
        (self.source / "tests").mkdir()
        (self.source / "tests" / "a.output").write_text("secret")
        (self.source / "old").write_text("")
        os.utime(self.source / "old", (1000, 1000))
        self.copy([str(self.source / "tests")])
        self.assertEqual(os.listdir(self.target), ["old"])
        self.assertEqual((self.target / "old").stat().st_mtime, 1000)

    def test_too_large(self) -> None:
        (self.source / "big").write_bytes(b"x" * 1000)
        with self.assertRaises(view.TooLarge):
            self.copy(bytes_max=999)


class Counting(unittest.TestCase):
    def test_descendants(self) -> None:
        everyone = [
            census.Process(pid, parent, 0, 0, 1, 0, "") for pid, parent in ((2, 1), (3, 2), (4, 3), (5, 1))
        ]
        self.assertEqual(sorted(each.pid for each in census.descendants(everyone, 2)), [3, 4])

    def test_own_process_is_seen(self) -> None:
        child = subprocess.Popen(["sleep", "60"])
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        found = {each.pid: each for each in census.processes()}
        self.assertEqual(found[child.pid].parent, os.getpid())
        self.assertEqual(found[child.pid].uid, os.getuid())

    def test_ports_of_a_script(self) -> None:
        self.assertEqual(
            ports.needed("0 start 2 10000\n1 start 2 10007\n0 get\n"), [3000, 3001, 10000, 10007]
        )

    def test_a_port_in_use_is_found_with_its_holder(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            self.assertEqual(ports.busy([port]), [port])
            if os.path.exists("/proc/net/tcp"):
                self.assertIn(f"process {os.getpid()}:", ports.holder(port))
        self.assertEqual(ports.wait_until_free([port], 5), [])

    def test_control_groups_that_cannot_be_made_leave_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            # A plain folder has no files of limits, as a control group without that controller.
            self.assertEqual(
                cgroups.create([cgroups.Parent(folder, 2, ["memory", "pids"])], "x", Limits()), []
            )
            self.assertEqual(os.listdir(folder), [])


class Running(unittest.TestCase):
    """What is made of the outcomes of sandboxes, which are made up here."""

    def grade(self, finished: list[Finished], **values: object) -> run.Result:
        submission = mock.Mock()
        submission.isolation.side_by_side.return_value = values.pop("side_by_side", True)
        submission.run.side_effect = finished
        runner = run.Runner(submission, run.Settings(Limits(), **values))
        return runner.grade(cases.Case("name", "", SCRIPT, "alive 0\n", points=2))

    @staticmethod
    def finished(said: str, **outcome: object) -> Finished:
        end = b'{"event":"command","line":1,"text":"x"}\n{"event":"end","status":0}\n'
        return Finished(Outcome(**{"status": 0, **outcome}), said.encode(), b"", end, 1.5)

    def test_second_chance_decides_and_is_remarked(self) -> None:
        result = self.grade([self.finished("alive 1\n"), self.finished("alive 0\n")])
        self.assertEqual((result.verdict, result.score), ("correct", 2))
        self.assertIn("at the lab's pace; wrong at the pace of readiness", result.line())
        result = self.grade([self.finished("alive 1\n"), self.finished("alive 1\n")])
        self.assertEqual((result.verdict, result.score), ("wrong", 0))
        self.assertIn("at the lab's pace also wrong", result.line())

    def test_no_second_chance_after_a_limit_or_a_killed_master(self) -> None:
        for outcome in ({"limit": "memory"}, {"status": -9}):
            result = self.grade([self.finished("alive 0\n", **outcome)])
            self.assertEqual((result.verdict, result.remark), ("wrong", ""))

    def test_a_broken_sandbox_says_nothing_about_the_submission(self) -> None:
        result = self.grade([self.finished("", status=None, error="mount: no")])
        self.assertEqual(result.verdict, "not run")
        self.assertIn("mount: no", result.explanation)

    def test_an_error_of_the_grader_loses_this_test_only(self) -> None:
        result = self.grade([OSError("disk full")])
        self.assertEqual(
            (result.verdict, result.explanation), ("not run", "the grader failed: OSError: disk full")
        )

    def test_a_port_in_use_is_named_with_its_holder(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, mock.patch("run.PORTS_SECONDS", 0.05):
            script = f"0 start 0 {server.getsockname()[1]}\n"
            with mock.patch(__name__ + ".SCRIPT", script):
                result = self.grade([], side_by_side=False)
        self.assertEqual(result.verdict, "not run")
        self.assertIn("is in use by", result.explanation)

    def test_several_runs_are_one_result(self) -> None:
        case = cases.Case("name", "", "", "")
        right, wrong = run.Result(case, "correct", 1.0), run.Result(case, "wrong", 3.0, explanation="why")
        merged = run.merge(case, [right, wrong, right])
        self.assertEqual((merged.verdict, merged.runs, merged.wrong_runs), ("wrong", 3, 1))
        self.assertEqual((merged.seconds, merged.seconds_max, merged.explanation), (1.0, 3.0, "why"))


class Speaking(unittest.TestCase):
    def test_order_and_outcome_survive_the_wire(self) -> None:
        order = Order("none", "/a", "/b", Limits(3.5), {"A": "\udc80"}, script="0 get\n\udcff")
        self.assertEqual(Order.from_line(order.to_line()), order)
        outcome = Outcome(status=-9, logs={"a": "b"})
        self.assertEqual(Outcome.from_line(outcome.to_line()), outcome)

    def test_repeat_command_keeps_what_matters(self) -> None:
        parser = options.make_parser()
        words = [
            "--submission",
            "a b",
            "--limit",
            "7",
            "--jobs",
            "4",
            "-k",
            "x",
            "--report",
            "json=y",
            "--hide-expected",
        ]
        command = options.repeat_command(parser, parser.parse_args(words), cases.Case("c/d", "", "", ""))
        self.assertTrue(command.endswith("--submission 'a b' --hide-expected --limit 7 -k c/d"), command)

    def test_no_colour_and_no_progress_where_nobody_watches(self) -> None:
        self.assertFalse(Progress().active and not sys.stderr.isatty())
        with mock.patch("sys.stdout") as stdout, mock.patch.dict(os.environ, {"TERM": "xterm"}):
            stdout.isatty.return_value = True
            os.environ.pop("NO_COLOR", None)
            self.assertIn("\033[31m", Progress().paint("a wrong (1 s)", "wrong"))
            os.environ["NO_COLOR"] = "1"
            self.assertEqual(Progress().paint("a wrong (1 s)", "wrong"), "a wrong (1 s)")


if __name__ == "__main__":
    unittest.main()
