"""Recorded process groups: only what was recorded, and still is what was recorded, is ever ended."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from playground import MASTER, PATIENCE_SECONDS, wait_until

sys.path.insert(0, str(MASTER))
import groups

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
# Leaves a member of its group behind, tells its pid, and ends.
LEADER = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], stdout=2).pid, flush=True)
"""
HAS_PROC = os.path.isdir("/proc/self")


class GroupsTest(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ovid-groups-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.run = self.directory / "run"
        before = os.environ.get("OVID_RUN_DIR")
        os.environ["OVID_RUN_DIR"] = str(self.run)
        self.addCleanup(self.restore, before)

    @staticmethod
    def restore(before: str | None) -> None:
        if before is None:
            os.environ.pop("OVID_RUN_DIR", None)
        else:
            os.environ["OVID_RUN_DIR"] = before

    def start(
        self, code: str = SLEEPER, marked: bool = True, own_group: bool = True
    ) -> subprocess.Popen[str]:
        environment = {**os.environ, "OVID_RUN": str(self.run)} if marked else {**os.environ}
        if not marked:
            environment.pop("OVID_RUN", None)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=own_group,
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.said = process.stdout.readline().strip()
        return process

    def change(self, made: groups.Record, key: str, value: str) -> None:
        lines = [
            f"{key} {value}" if line.startswith(f"{key} ") else line
            for line in made.path.read_text().splitlines()
        ]
        made.path.write_text("\n".join(lines) + "\n")

    def wait_for_end(self, pid: int) -> None:
        wait_until(lambda: groups.process_state(pid) in ("", "Z"), f"process {pid} lives on")

    def names(self) -> list[str]:
        return sorted(os.listdir(self.run))

    def test_a_running_group_is_found_and_a_forgotten_one_not(self) -> None:
        process = self.start()
        made = groups.record("server", process.pid, "the  command\nof two lines")
        self.assertEqual(groups.live_records(), [made])
        self.assertEqual(groups.live_records(["master", "grader"]), [])
        self.assertEqual(groups.live_records()[0].command, "the command of two lines")
        groups.forget(made)
        self.assertEqual(groups.live_records(), [])
        self.assertIsNone(process.poll())

    def test_record_of_an_ended_group_is_removed(self) -> None:
        process = self.start()
        groups.record("server", process.pid, "x")
        process.kill()
        # Not reaped yet: a zombie is nothing that runs.
        wait_until(lambda: groups.live_records() == [], "the ended group is still live")
        self.assertEqual(self.names(), [])

    def test_reused_number_is_left_alone(self) -> None:
        for key, value in (("start", "1"), ("boot", "another-boot")):
            with self.subTest(key):
                process = self.start()
                made = groups.record("server", process.pid, "x")
                self.change(made, key, value)
                self.assertEqual(groups.live_records(), [])
                self.assertEqual(groups.stop_all(["server"], dry_run=False), 0)
                self.assertIsNone(process.poll())
                self.assertEqual(self.names(), [])

    @unittest.skipUnless(HAS_PROC, "process namespaces need /proc")
    def test_record_of_another_namespace_is_neither_ended_nor_lost(self) -> None:
        process = self.start()
        made = groups.record("server", process.pid, "x")
        self.change(made, "namespace", "pid:[1]")
        self.assertEqual(groups.live_records(), [])
        self.assertIsNone(process.poll())
        self.assertEqual(self.names(), [made.path.name])
        os.utime(made.path, (0, 0))
        self.assertEqual(groups.live_records(), [])
        self.assertEqual(self.names(), [])

    @unittest.skipUnless(HAS_PROC, "the mark is read from /proc")
    def test_unknown_namespace_needs_the_mark(self) -> None:
        for marked in (True, False):
            with self.subTest(marked=marked):
                process = self.start(marked=marked)
                made = groups.record("server", process.pid, "x")
                self.change(made, "namespace", "-")
                self.assertEqual(len(groups.live_records()), int(marked))
                groups.forget(made)

    def test_stop_ends_a_process_that_ignores_the_request(self) -> None:
        process = self.start(STUBBORN)
        made = groups.record("server", process.pid, "x")
        self.assertTrue(groups.stop(made, limit_seconds=0.4))
        self.assertEqual(process.wait(PATIENCE_SECONDS), -signal.SIGKILL)
        self.assertEqual(self.names(), [])

    def test_stop_ends_a_stopped_process(self) -> None:
        process = self.start()
        made = groups.record("server", process.pid, "x")
        process.send_signal(signal.SIGSTOP)
        self.assertTrue(groups.stop(made, limit_seconds=PATIENCE_SECONDS))
        self.assertEqual(process.wait(PATIENCE_SECONDS), -signal.SIGTERM)

    @unittest.skipUnless(HAS_PROC, "the mark is read from /proc")
    def test_group_without_its_leader_is_known_by_the_mark(self) -> None:
        for marked in (True, False):
            with self.subTest(marked=marked):
                leader = self.start(LEADER, marked=marked)
                member = int(self.said)
                made = groups.Record(
                    "server",
                    leader.pid,
                    "1",
                    groups.boot_id(),
                    groups.namespace_id(),
                    "x",
                    self.run / "server-x",
                )
                leader.wait(PATIENCE_SECONDS)
                try:
                    self.assertEqual(groups.is_live(made), marked)
                    self.assertTrue(groups.stop(made, limit_seconds=PATIENCE_SECONDS))
                    if marked:
                        self.wait_for_end(member)
                    else:
                        self.assertNotIn(groups.process_state(member), ("", "Z"))
                finally:
                    with contextlib.suppress(OSError):
                        os.kill(member, signal.SIGKILL)

    def test_master_and_grader_are_ended_alone(self) -> None:
        for kind in ("master", "grader"):
            with self.subTest(kind):
                leader = self.start(LEADER + "time.sleep(600)")
                member = int(self.said)
                made = groups.record(kind, leader.pid, "x")
                self.assertTrue(groups.stop(made, limit_seconds=PATIENCE_SECONDS))
                self.assertEqual(leader.wait(PATIENCE_SECONDS), -signal.SIGTERM)
                self.assertNotIn(groups.process_state(member), ("", "Z"))
                os.kill(member, signal.SIGKILL)

    def test_server_in_the_group_of_its_caller_is_ended_alone(self) -> None:
        process = self.start(own_group=False)
        made = groups.record("server", process.pid, "x")
        self.assertTrue(groups.stop(made, limit_seconds=PATIENCE_SECONDS))
        self.assertEqual(process.wait(PATIENCE_SECONDS), -signal.SIGTERM)

    def test_what_is_no_record_is_left_and_a_broken_record_is_removed(self) -> None:
        self.run.mkdir()
        (self.run / "notes").write_text("mine")
        (self.run / "server-77").write_text("half a rec")
        (self.run / "server-1").write_text("pgid 1\nstart 1\nboot x\nnamespace -\nkind server\n")
        self.assertEqual(groups.live_records(), [])
        self.assertEqual(self.names(), ["notes"])

    def test_unwritable_directory_gives_one_warning(self) -> None:
        self.run.write_text("a file is in the way")
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            self.assertIsNone(groups.record("server", os.getpid(), "x"))
            self.assertIsNone(groups.record("server", os.getpid(), "x"))
        self.assertEqual(said.getvalue().count("cannot record"), 1)
        self.assertEqual(groups.live_records(), [])

    def test_command_line(self) -> None:
        process = self.start()

        def call(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, str(MASTER / "groups.py"), *words],
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stdout

        call("record", "server", str(process.pid), "my", "--server")
        line = f"server {process.pid}: my --server\n"
        self.assertEqual(call("list"), line)
        self.assertEqual(call("stop", "--kind", "master"), "")
        self.assertEqual(call("stop", "--dry-run"), "would end " + line)
        self.assertIsNone(process.poll())
        self.assertEqual(call("stop"), "ended " + line)
        self.assertEqual(process.wait(PATIENCE_SECONDS), -signal.SIGTERM)


if __name__ == "__main__":
    unittest.main()
