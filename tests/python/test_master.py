"""The master on scripts: what it sends and prints, and what it says about servers that misbehave."""

from __future__ import annotations

import json
import socket
import subprocess
import unittest

from playground import (
    PROCESS_IN_BACKGROUND,
    PROCESS_IN_FOREGROUND,
    PROCESS_THAT_ESCAPES,
    MasterTest,
    free_ports,
)

ONE = "0 start 1 P0\n"
TWO = "0 start 2 P0\n1 start 2 P1\n"


class Answers(MasterTest):
    def test_answers_alone_are_on_standard_output(self) -> None:
        result = self.run_master(TWO + "0 broadcast hello\n0 get\n1 get\n1 alive\n")
        self.assertEqual(result.out, b"messages hello\nmessages \nalive 0,1\n")
        self.assertEqual((result.status, result.err), (0, ""))
        self.assert_nothing_left()

    def test_record_has_commands_and_answers_in_order(self) -> None:
        result = self.run_master("\n" + ONE + "\n0 alive\n")
        seen = [(e["event"], e.get("line"), e.get("text")) for e in result.events]
        start = self.script(ONE).strip()
        wanted = [
            ("command", 2, start),
            ("command", 4, "0 alive"),
            ("answer", 4, "alive 0"),
            ("end", None, None),
        ]
        self.assertEqual(seen, wanted)
        self.assertEqual(result.events[-1]["status"], 0)

    def test_bytes_of_messages_are_kept(self) -> None:
        message = "a  b\u2028c\u00a0é🦀".encode() + b"\xff\xfe\x00z"
        result = self.run_master(self.script(ONE).encode() + b"0 broadcast " + message + b"  \r\n0 get")
        self.assertEqual(result.out, b"messages " + message + b"\n")
        answer = next(e for e in result.events if e["event"] == "answer")
        self.assertEqual(answer["text"].encode("utf-8", "surrogateescape"), b"messages " + message)

    def test_windows_line_ends_byte_order_mark_and_blanks(self) -> None:
        script = "\ufeff" + ONE.replace("\n", "\r\n") + "\r\n  0   alive  \r\n\t\r\nexit\r\n0 get\r\n"
        result = self.run_master(script)
        self.assertEqual((result.out, result.status), (b"alive 0\n", 0))

    def test_message_of_a_megabyte(self) -> None:
        result = self.run_master(ONE + "0 broadcast " + "m" * 1_000_000 + "\n0 get\n")
        self.assertEqual((result.status, len(result.out)), (0, 1_000_000 + len("messages \n")))

    def test_answer_of_many_megabytes(self) -> None:
        self.set_mode(0, "huge")
        result = self.run_master(ONE + "0 get\n")
        self.assertEqual((result.status, len(result.out)), (0, 30_000_000 + len("messages \n")))

    def test_reply_framing_by_length(self) -> None:
        self.set_mode(0, "framed")
        result = self.run_master(
            ONE + "0 broadcast 日本\n0 get\n0 alive\n0 get\n", "--reply-framing", "length"
        )
        self.assertEqual(result.out.decode(), "messages 日本\nalive 0\nmessages 日本\n")
        self.assertEqual(result.status, 0)

    def test_script_from_a_pipe_is_carried_out_line_by_line(self) -> None:
        with subprocess.Popen(
            self.command("-"), env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as master:
            assert master.stdin and master.stdout
            master.stdin.write(self.script(ONE + "0 alive\n").encode())
            master.stdin.flush()
            # The answer comes although the script has not ended.
            self.assertEqual(master.stdout.readline(), b"alive 0\n")
            master.stdin.write(b"0 get")
            master.stdin.close()
            self.assertEqual(master.stdout.read(), b"messages \n")
        self.assertEqual(master.returncode, 0)

    def test_restarted_server_is_asked_on_its_new_connection(self) -> None:
        result = self.run_master(TWO + "1 broadcast x\n1 crash\n0 alive\n1 start 2 P1\n1 get\n0 alive\n")
        self.assertEqual(result.out, b"alive 0\nmessages \nalive 0,1\n")
        self.assertEqual(result.status, 0)

    def test_server_output_is_kept_for_each_start(self) -> None:
        self.set_mode(0, "exits")
        self.run_master(ONE + ONE, "--server-output", str(self.directory / "said"))
        for start in (1, 2):
            text = (self.directory / "said" / f"server-0-{start}.err").read_text()
            self.assertEqual(text, "first line\nno luck today\n")
        self.assertEqual((self.directory / "said" / "server-0-1.out").read_text(), "")

    def test_servers_are_told_where_to_trace(self) -> None:
        self.write_process('#!/bin/sh\n: >"$OVID_TRACE_DIR/server-$1.jsonl"\n' + PROCESS_IN_FOREGROUND[10:])
        traces = self.directory / "traces"
        result = self.run_master(ONE + "0 alive\n", "--trace", str(traces))
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertEqual([path.name for path in traces.iterdir()], ["server-0.jsonl"])
        # Two runs would make one confused picture.
        result = self.run_master(ONE, "--trace", str(traces))
        self.assertEqual(result.status, 2)
        self.assertIn("holds the traces of another run", result.err)

    def test_stopall_is_called_once(self) -> None:
        self.run_master(ONE)
        self.assertEqual((self.directory / "stopall-calls").read_text(), "called\n")

    def test_process_command_with_words_is_found_in_the_directory(self) -> None:
        (self.directory / "process").rename(self.directory / "my server")
        result = self.run_master(ONE + "0 alive\n", "--process", "'my server'")
        self.assertEqual((result.out, result.status), (b"alive 0\n", 0))


class Paces(MasterTest):
    def test_lab_pace_waits_as_the_lab_does(self) -> None:
        result = self.run_master(ONE + "0 crash\n", "--pace", "lab")
        self.assertEqual(result.status, 0)
        self.assertGreaterEqual(result.events[-1]["seconds"], 4.0)

    def test_wrong_alive_is_not_ready_but_no_failure(self) -> None:
        self.set_mode(0, "wrong-alive")
        result = self.run_master(ONE + "0 alive\n")
        self.assertEqual((result.out, result.status), (b"alive 0,1,2,3\n", 0))
        self.assertEqual(result.problems(), [("not_ready", 1, None)])
        self.assertIn("server 0 says 0,1,2,3", result.err)

    def test_questions_behind_the_scenes_disturb_no_answer(self) -> None:
        for mode in ("no-alive", "rubbish-alive"):
            with self.subTest(mode):
                self.set_mode(0, mode)
                result = self.run_master(ONE + "0 broadcast x\n0 get\n0 get\n")
                self.assertEqual((result.out, result.status), (b"messages x\nmessages x\n", 0))
                self.assertEqual(result.problems(), [("not_ready", 1, None)])

    def test_skipped_question_behind_the_scenes_costs_no_answer(self) -> None:
        self.set_mode(0, "skips-alive")
        result = self.run_master(ONE + "0 alive\n0 get\n0 alive\n", runner_ANSWER_SECONDS=0.5)
        self.assertEqual((result.out, result.status), (b"alive 0\nmessages \nalive 0\n", 0))


class Mistakes(MasterTest):
    SCRIPT = """\
0 get
x get
-1 get
0 start 1 9999
0 start 1 port
0 start 0 P0
3 start 3 P0
0 start 1
0 start 1 P0
0 start 1 P0
0 explode
0 broadcast
0 get now
0
sleep long
sleep -1
exit now
0 alive
"""
    MESSAGES = (
        "Invalid pid: 0",
        "Invalid pid: x",
        "Invalid pid: -1",
        "Invalid port: 9999",
        "Invalid port: port",
        "Invalid command: 0 start 0 P0",
        "Invalid pid: 3",
        "Invalid command: 0 start 1",
        "Invalid command: 0 start 1 P0",
        "Invalid command: 0 explode",
        "Invalid command: 0 broadcast",
        "Invalid command: 0 get now",
        "Invalid command: 0",
        "Invalid command: sleep long",
        "Invalid command: sleep -1",
        "Invalid pid: exit",
    )

    def test_each_gives_the_labs_message_and_the_script_goes_on(self) -> None:
        result = self.run_master(self.SCRIPT)
        self.assertEqual(result.lines(), [*(self.script(message) for message in self.MESSAGES), "alive 0"])
        self.assertEqual(result.status, 1)
        lines = [*range(1, 9), *range(10, 18)]
        self.assertEqual(
            [(kind, line) for kind, line, _ in result.problems()], [("bad_command", n) for n in lines]
        )
        self.assertIn("master: line 10: server 0: server 0 was started already", result.err)

    def test_dry_run_shows_them_all_and_starts_nothing(self) -> None:
        result = self.run_master(self.SCRIPT, "--dry-run")
        self.assertEqual((result.status, result.out), (1, b""))
        for message in self.MESSAGES:
            self.assertIn(self.script(message), result.err)
        self.assertEqual(len(result.err.splitlines()), len(self.MESSAGES))
        self.assertFalse((self.directory / "stopall-calls").exists())
        self.assertEqual(self.run_master(ONE + "0 crash\n0 start 1 P1\n", "--dry-run").status, 0)

    def test_usage(self) -> None:
        for arguments in (
            ["--limit", "0"],
            ["--limit", "x"],
            ["--pace", "run"],
            ["--process", "'"],
            ["--lab", "x"],
        ):
            with self.subTest(arguments):
                result = self.run_master(ONE, *arguments)
                self.assertEqual(result.status, 2)
                self.assertNotIn("Traceback", result.err)
        missing = subprocess.run(self.command("no-such-script"), capture_output=True, check=False)
        self.assertEqual(missing.returncode, 2)
        self.assertIn(b"no-such-script", missing.stderr)


class Misbehaviour(MasterTest):
    """Each ends in bounded time with a message that names the server and the line, and leaves nothing behind."""

    def tearDown(self) -> None:
        self.assert_nothing_left()

    def test_no_such_process(self) -> None:
        (self.directory / "process").unlink()
        result = self.run_master(ONE + "0 get\n")
        self.assertEqual(result.problems(), [("no_start", 1, 0), ("bad_command", 2, 0)])
        self.assertIn("cannot run ./process", result.err)

    def test_dies_at_start(self) -> None:
        self.set_mode(1, "exits")
        result = self.run_master(TWO + "0 alive\n1 get\n")
        self.assertEqual(result.problems(), [("no_start", 2, 1), ("no_start", 4, 1)])
        self.assertEqual(result.out, b"alive 0\n")
        self.assertIn("line 2: server 1: its process has ended (exit status 1)", result.err)
        self.assertIn("| no luck today", result.err)
        self.assertEqual(result.status, 1)

    def test_never_listens(self) -> None:
        self.set_mode(0, "never-listens")
        result = self.run_master(ONE + "0 get\n")
        self.assertEqual(result.problems(), [("no_start", 1, 0), ("no_start", 2, 0)])
        self.assertIn(f"nothing listens on port {self.ports[0]} 3 s after the start", result.err)

    def test_port_is_in_use(self) -> None:
        self.set_mode(1, "good")
        script = "0 start 2 P0\n1 start 2 P0\n0 alive\n"
        self.assertIn(f"Invalid port: {self.ports[0]}", self.run_master(script).lines())
        with socket.create_server(("127.0.0.1", self.ports[2])):
            result = self.run_master("0 start 1 P2\n")
        self.assertEqual(result.problems(), [("no_start", 1, 0)])
        self.assertIn("in use by another process", result.err)

    def test_dies_when_asked(self) -> None:
        for mode, how in (("dies", "exit status 7"), ("falls", "killed by SIGSEGV")):
            with self.subTest(mode):
                self.set_mode(1, mode)
                result = self.run_master(TWO + "1 get\n1 alive\n0 alive\n1 start 2 P1\n0 alive\n")
                self.assertEqual(result.out, b"alive 0\nalive 0,1\n")
                self.assertEqual({problem[:1] + problem[2:] for problem in result.problems()}, {("died", 1)})
                self.assertEqual({line for _, line, _ in result.problems()}, {3, 4})
                self.assertIn(f"line 3: server 1: it has died ({how})", result.err)

    def test_last_words_on_standard_error_are_shown(self) -> None:
        self.set_mode(0, "dies")
        self.assertIn("| about to fall", self.run_master(ONE + "0 get\n").err)

    def test_closes_its_connection(self) -> None:
        self.set_mode(0, "closes")
        result = self.run_master(ONE + "0 get\n0 get\n")
        self.assertEqual({problem[0] for problem in result.problems()}, {"closed"})
        self.assertIn("line 2: server 0: it has closed its connection", result.err)
        self.assertEqual((result.status, result.out), (1, b""))

    def test_hangs(self) -> None:
        self.set_mode(0, "hangs")
        result = self.run_master(
            ONE + "0 get\n0 get\n0 alive\n", runner_ANSWER_SECONDS=0.6, runner_ANSWER_SECONDS_MUTE=0.2
        )
        self.assertEqual(result.problems(), [("no_answer", 2, 0), ("no_answer", 3, 0)])
        self.assertEqual((result.out, result.status), (b"alive 0\n", 1))
        self.assertIn("no answer to `get` within 0.6 s", result.err)
        self.assertIn("no answer to `get` within 0.2 s", result.err)

    def test_late_answer_is_not_taken_for_the_next(self) -> None:
        self.set_mode(0, "late-once")
        script = ONE + "0 broadcast x\n0 get\n0 broadcast y\n0 get\n"
        result = self.run_master(script, runner_ANSWER_SECONDS=0.3)
        self.assertEqual((result.out, result.problems()), (b"messages x,y\n", [("no_answer", 3, 0)]))
        self.assertIn("its answer to line 3 came too late", result.err)

    def test_after_a_skipped_answer_the_next_are_right(self) -> None:
        self.set_mode(0, "hangs-once")
        script = ONE + "0 broadcast x\n0 get\n0 broadcast y\n0 get\n0 get\n"
        limits = {"runner_ANSWER_SECONDS": 0.3, "runner_ANSWER_SECONDS_MUTE": 0.3}
        result = self.run_master(script, **limits)
        self.assertEqual((result.out, result.problems()), (b"messages x,y\n" * 2, [("no_answer", 3, 0)]))

    def test_answers_rubbish(self) -> None:
        self.set_mode(0, "rubbish")
        result = self.run_master(ONE + "0 get\n0 alive\n")
        self.assertEqual(result.lines(), ["Invalid Response: what did you say?", "alive 0"])
        self.assertEqual(result.problems(), [("bad_answer", 2, 0)])

    def test_rubbish_before_the_answer(self) -> None:
        self.set_mode(0, "chatty")
        result = self.run_master(ONE + "0 get\n0 alive\n")
        self.assertEqual(result.lines(), ["Invalid Response: debug: get called", "messages ", "alive 0"])
        self.assertEqual(result.problems(), [("bad_answer", 2, 0)])

    def test_never_reads(self) -> None:
        self.set_mode(0, "never-reads")
        script = ONE + "0 broadcast " + "m" * 20_000_000 + "\n0 broadcast x\n"
        limits = {"runner_ANSWER_SECONDS": 0.4, "runner_ANSWER_SECONDS_MUTE": 0.2}
        result = self.run_master(script, **limits)
        self.assertEqual(
            result.problems(), [("not_ready", 1, None), ("no_answer", 2, 0), ("no_answer", 3, 0)]
        )
        self.assertIn("does not read", result.err)

    def test_floods_standard_error(self) -> None:
        self.set_mode(0, "floods")
        result = self.run_master(ONE + "0 alive\n")
        self.assertEqual((result.out, result.status), (b"alive 0\n", 0))

    def test_limit_of_the_run(self) -> None:
        result = self.run_master(ONE + "0 alive\nsleep 60000\n0 get\n", "--limit", "3")
        self.assertEqual(result.lines(), ["alive 0", "Timeout!"])
        self.assertEqual((result.status, result.problems()), (1, [("limit", 3, None)]))
        self.assertEqual(result.events[-1]["event"], "end")

    def test_process_that_returns_at_once(self) -> None:
        self.write_process(PROCESS_IN_BACKGROUND)
        result = self.run_master(TWO + "0 alive\n1 crash\n0 alive\n")
        self.assertEqual((result.out, result.status, result.err), (b"alive 0,1\nalive 0\n", 0, ""))

    def test_stopall_that_hangs(self) -> None:
        self.write_executable("stopall", "#!/bin/sh\nsleep 600\n")
        result = self.run_master(ONE + "0 alive\n", process_STOPALL_SECONDS=0.3)
        self.assertEqual((result.out, result.status), (b"alive 0\n", 0))
        self.assertIn("stopall did not end", result.err)


class Escaping(MasterTest):
    def test_crash_is_sent_to_a_server_that_left_its_group(self) -> None:
        self.write_process(PROCESS_THAT_ESCAPES)
        result = self.run_master(ONE + "0 alive\n0 crash\n")
        self.assertEqual((result.out, result.status), (b"alive 0\n", 0))
        self.assertIn("it has left its process group", result.err)
        self.assert_nothing_left()

    def test_stopall_is_for_those_and_a_port_in_use_is_told(self) -> None:
        self.write_process(PROCESS_THAT_ESCAPES)
        result = self.run_master(ONE)
        self.assertIn(f"port {self.ports[0]} is still in use after stopall", result.err)
        self.end_left_overs()
        self.ports = free_ports(4)
        self.write_executable("stopall", '#!/bin/sh\nkill -9 "$(cat "$FAKE_DIRECTORY/escaped")"\n')
        result = self.run_master(ONE)
        self.assertEqual((result.status, result.err), (0, ""))


class Records(MasterTest):
    def test_an_answer_is_recorded_as_it_was_printed(self) -> None:
        result = self.run_master(TWO + "0 broadcast a\n0 get\n1 get\n")
        texts = [e["text"] for e in result.events if e["event"] in ("answer", "message")]
        self.assertEqual(texts, result.lines())
        self.assertTrue(all(0 <= e["seconds"] < 60 for e in result.events if e["event"] == "answer"))

    def test_each_line_of_the_record_is_json_at_once(self) -> None:
        with subprocess.Popen(
            self.command("-"), env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as master:
            assert master.stdin and master.stdout
            master.stdin.write(self.script(ONE + "0 alive\n").encode())
            master.stdin.flush()
            master.stdout.readline()
            lines = (self.directory / "record").read_text().splitlines()
            self.assertEqual(json.loads(lines[-1])["text"], "alive 0")
            master.stdin.close()


if __name__ == "__main__":
    unittest.main()
