"""The master's ways out: whatever ends it, nothing that it started lives on, and nothing else is touched."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import unittest

from playground import (
    PATIENCE_SECONDS,
    PROCESS_IN_BACKGROUND,
    MasterTest,
    heed_signals,
    wait_until,
)

TWO = "0 start 2 P0\n1 start 2 P1\n"


class Ends(MasterTest):
    def start_master(self, script: str) -> subprocess.Popen[bytes]:
        path = self.directory / "script"
        path.write_text(self.script(script))
        master = subprocess.Popen(
            self.command(str(path)),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=heed_signals,  # noqa: PLW1509 - no other thread runs here
        )
        self.addCleanup(master.stdout.close)
        self.addCleanup(master.stderr.close)
        self.addCleanup(master.wait)
        self.addCleanup(master.kill)
        return master

    def wait_for_line(self, line: int) -> None:
        def begun() -> bool:
            return any(e["event"] == "command" and e["line"] == line for e in self.events())

        wait_until(begun, f"line {line} is never begun")

    def test_signals_in_the_middle_of_a_script(self) -> None:
        for text in (None, PROCESS_IN_BACKGROUND):
            if text:
                self.write_process(text)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                with self.subTest(background=bool(text), signal=number.name):
                    master = self.start_master(TWO + "sleep 60000\n")
                    self.wait_for_line(3)
                    self.assertTrue(self.left_overs())
                    master.send_signal(number)
                    self.assertEqual(master.wait(PATIENCE_SECONDS), 128 + number)
                    self.assertIn(number.name.encode(), master.stderr.read())
                    self.assertEqual(self.events()[-1]["status"], 128 + number)
                    self.assert_nothing_left()
                    self.assertEqual(os.listdir(self.directory / "run"), [])
                    (self.directory / "record").unlink()

    def test_signal_while_a_server_starts(self) -> None:
        self.set_mode(0, "never-listens")
        master = self.start_master("0 start 1 P0\n")
        self.wait_for_line(1)
        wait_until(lambda: len(self.left_overs()) > 1, "the server is never started")
        master.terminate()
        self.assertEqual(master.wait(PATIENCE_SECONDS), 128 + signal.SIGTERM)
        self.assert_nothing_left()

    def test_signal_while_an_answer_is_awaited(self) -> None:
        self.set_mode(0, "hangs")
        master = self.start_master("0 start 1 P0\n0 get\n")
        self.wait_for_line(2)
        master.terminate()
        self.assertEqual(master.wait(PATIENCE_SECONDS), 128 + signal.SIGTERM)
        self.assert_nothing_left()

    @unittest.skipUnless(sys.platform.startswith("linux"), "only Linux tells a child of its parent's death")
    def test_killed_master_takes_its_servers_with_it(self) -> None:
        master = self.start_master(TWO + "sleep 60000\n")
        self.wait_for_line(3)
        master.kill()
        master.wait(PATIENCE_SECONDS)
        self.assert_nothing_left()

    def test_reader_of_the_answers_leaves(self) -> None:
        master = self.start_master(TWO + "0 alive\nsleep 300\n0 alive\n0 alive\n")
        self.assertEqual(master.stdout.readline(), b"alive 0,1\n")
        master.stdout.close()
        self.assertEqual(master.wait(PATIENCE_SECONDS), 1)
        self.assertNotIn(b"Traceback", master.stderr.read())
        self.assert_nothing_left()

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs a full device")
    def test_answers_cannot_be_written(self) -> None:
        path = self.directory / "script"
        path.write_text(self.script(TWO + "0 alive\n0 alive\n"))
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                self.command(str(path)),
                env=self.environment,
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write the answers: No space left", done.stderr)
        self.assertNotIn(b"Traceback", done.stderr)
        self.assert_nothing_left()

    def test_a_stranger_in_another_group_survives(self) -> None:
        stranger = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            self.assertEqual(self.run_master(TWO + "0 crash\n").status, 0)
            self.assertIsNone(stranger.poll())
        finally:
            stranger.communicate(b"\n")
        self.assertEqual(stranger.returncode, 0)

    def test_read_only_run_directory_is_warned_about_once(self) -> None:
        (self.directory / "run").write_text("not a directory")
        result = self.run_master(TWO + "0 alive\n")
        self.assertEqual((result.out, result.status), (b"alive 0,1\n", 0))
        self.assertEqual(result.err.count("cannot record process groups"), 1)


@unittest.skipUnless(hasattr(os, "forkpty"), "needs a terminal of its own")
class ByHand(MasterTest):
    """A session on a terminal: typed lines, a death that nobody asked about, Ctrl-C, the end of the input."""

    def setUp(self) -> None:
        super().setUp()
        self.shown = b""
        self.environment["XDG_STATE_HOME"] = str(self.directory / "state")
        self.environment["TERM"] = "dumb"
        self.environment.pop("INPUTRC", None)
        command = self.command()
        self.pid, self.terminal = os.forkpty()
        if self.pid == 0:
            heed_signals()
            os.execve(command[0], command, self.environment)
        self.addCleanup(os.close, self.terminal)

    def type(self, text: str) -> None:
        os.write(self.terminal, self.script(text).encode())

    def wait_for(self, text: str) -> None:
        """Waits until the text is shown, after all that was waited for before."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while text.encode() not in self.shown:
            if time.monotonic() > ends_at or not select.select([self.terminal], [], [], PATIENCE_SECONDS)[0]:
                raise AssertionError(f"{text!r} is not in {self.shown!r}")
            try:
                self.shown += os.read(self.terminal, 65536)
            except OSError:
                raise AssertionError(f"ended before {text!r}: {self.shown!r}") from None
        self.shown = self.shown.partition(text.encode())[2]

    def wait_for_end(self) -> int:
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends_at:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if select.select([self.terminal], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.shown += os.read(self.terminal, 65536)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"the session does not end: {self.shown!r}")

    def test_session(self) -> None:
        self.wait_for("[no servers]> ")
        self.type("nonsense\n")
        self.wait_for("Invalid command: nonsense")
        self.type("help\n")
        self.wait_for("<id> start <n> <port>")
        self.type("0 start 2 P0\n1 start 2 P1\n")
        self.wait_for("[0,1]> ")
        self.type("1 alive\n")
        self.wait_for("alive 0,1\r\n")
        self.type("0 cra\t\n")
        self.wait_for("[1]> ")
        self.type("sleep 60000\n")
        wait_until(lambda: self.events()[-1].get("text") == "sleep 60000", "the sleep is never begun")
        self.type("\x03")
        self.wait_for("(interrupted")
        self.type("1 alive\n")
        self.wait_for("alive 1\r\n")
        self.type("exit\n")
        self.assertEqual(self.wait_for_end(), 0)
        self.assert_nothing_left()
        self.assertIn("1 alive", (self.directory / "state" / "ovid" / "history").read_text())

    def test_death_is_told_while_nothing_is_typed(self) -> None:
        self.wait_for("> ")
        self.type("0 start 1 P0\n")
        self.wait_for("[0]> ")
        server = next(pid for pid in self.left_overs() if pid != self.pid)
        os.kill(server, signal.SIGKILL)
        self.wait_for("server 0: it has died (killed by SIGKILL)")
        self.type("\x04")
        self.assertEqual(self.wait_for_end(), 0)
        self.assert_nothing_left()

    def test_terminated_at_the_prompt(self) -> None:
        self.wait_for("> ")
        self.type("0 start 1 P0\n")
        self.wait_for("[0]> ")
        os.kill(self.pid, signal.SIGTERM)
        self.assertEqual(self.wait_for_end(), 128 + signal.SIGTERM)
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main()
