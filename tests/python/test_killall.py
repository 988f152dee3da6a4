"""killall.sh and the scripts of master/, in a copy of the checkout, so that this checkout's own grids are
not touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from playground import FAKE, MASTER, PATIENCE_SECONDS, ROOT, free_ports, wait_until


class CheckoutTest(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ovid killall test-")).resolve()
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.checkout = self.make_checkout("checkout")

    def make_checkout(self, name: str) -> Path:
        checkout = self.directory / name
        shutil.copytree(MASTER, checkout / "master", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "killall.sh", checkout)
        program = checkout / "target" / "release" / "ovid"
        program.parent.mkdir(parents=True)
        # Like the real one it takes `server <id> <n> <port>`, and here a fake serves.
        program.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" "{FAKE}" "$@"\n')
        program.chmod(0o755)
        return checkout

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("OVID_")}
        return {**kept, "FAKE_DIRECTORY": str(self.directory), **more}

    def start(self, checkout: Path, own_group: bool = True, **more: str) -> subprocess.Popen[bytes]:
        """A server, as a master would start it, from a working directory that is not its own."""
        port = free_ports(1)[0]
        process = subprocess.Popen(
            [str(checkout / "master" / "process"), "0", "1", str(port)],
            env=self.environment(**more),
            cwd="/",
            stdin=subprocess.DEVNULL,
            start_new_session=own_group,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(lambda: self.is_fake(process.pid), "the server never runs")
        return process

    def is_fake(self, pid: int) -> bool:
        done = subprocess.run(
            ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return str(FAKE) in done.stdout

    def call(self, program: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), *words],
            env=self.environment(**more),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


@unittest.skipUnless(os.path.exists("/proc/self/stat"), "a shell can record itself only where there is /proc")
class Killall(CheckoutTest):
    def test_ends_what_this_checkout_started_and_nothing_else(self) -> None:
        other_checkout = self.start(self.make_checkout("another checkout"))
        stranger = subprocess.Popen(
            [str(self.checkout / "target/release/ovid"), "server", "0", "1", str(free_ports(1)[0])],
            env=self.environment(),
        )
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        mine = [self.start(self.checkout), self.start(self.checkout, own_group=False)]
        dry = self.call(self.checkout / "killall.sh", "--dry-run")
        self.assertEqual(
            sorted(line.split(":")[0] for line in dry.stdout.splitlines()),
            sorted(f"would end server {each.pid}" for each in mine),
        )
        self.assertTrue(all(each.poll() is None for each in mine))
        done = self.call(self.checkout / "killall.sh")
        self.assertEqual(
            sorted(line.split(":")[0] for line in done.stdout.splitlines()),
            sorted(f"ended server {each.pid}" for each in mine),
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for each in mine:
            self.assertEqual(each.wait(PATIENCE_SECONDS), -signal.SIGTERM)
        self.assertIsNone(other_checkout.poll())
        self.assertIsNone(stranger.poll())
        self.assertEqual(os.listdir(self.checkout / ".run"), [])
        self.assertEqual(self.call(self.checkout / "killall.sh").stdout, "")

    def test_ends_a_master_which_ends_its_servers(self) -> None:
        script = self.directory / "script"
        script.write_text(f"0 start 1 {free_ports(1)[0]}\n0 alive\nsleep 60000\n")
        command = [sys.executable, str(self.checkout / "master" / "master.py"), str(script)]
        with subprocess.Popen(
            command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as master:
            self.assertEqual(master.stdout.readline(), b"alive 0\n")
            done = self.call(self.checkout / "killall.sh")
            self.assertEqual(
                [line.split()[:2] for line in done.stdout.splitlines()],
                [["ended", "master"], ["ended", "server"]],
            )
            self.assertEqual(master.wait(PATIENCE_SECONDS), 128 + signal.SIGTERM)

    def test_stopall_ends_servers_but_no_master(self) -> None:
        server = self.start(self.checkout)
        keeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.addCleanup(keeper.wait)
        self.addCleanup(keeper.kill)
        self.addCleanup(keeper.stdin.close)
        groups_py = str(self.checkout / "master" / "groups.py")
        self.call(Path(sys.executable), groups_py, "record", "master", str(keeper.pid), "keeper")
        done = self.call(self.checkout / "master" / "stopall")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(server.wait(PATIENCE_SECONDS), -signal.SIGTERM)
        self.assertIsNone(keeper.poll())
        keeper.communicate(b"\n")

    def test_run_directory_may_be_elsewhere(self) -> None:
        elsewhere = str(self.directory / "elsewhere")
        server = self.start(self.checkout, OVID_RUN_DIR=elsewhere)
        self.assertEqual(self.call(self.checkout / "killall.sh").stdout, "")
        self.assertIsNone(server.poll())
        self.assertIn("ended server", self.call(self.checkout / "killall.sh", OVID_RUN_DIR=elsewhere).stdout)
        server.wait(PATIENCE_SECONDS)

    def test_usage(self) -> None:
        self.assertEqual(self.call(self.checkout / "killall.sh", "--all").returncode, 2)


class Scripts(CheckoutTest):
    def test_process_passes_its_arguments_on(self) -> None:
        program = self.directory / "program"
        program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
        program.chmod(0o755)
        done = self.call(
            self.checkout / "master" / "process",
            "0",
            "1",
            "10000",
            "a b",
            OVID_BIN=str(program),
            OVID_SERVER_FLAGS="-v --stdin",
        )
        self.assertEqual(done.stdout, "server|0|1|10000|a b|-v|--stdin|")

    def test_process_without_a_server_says_what_to_do(self) -> None:
        (self.checkout / "target" / "release" / "ovid").unlink()
        done = self.call(self.checkout / "master" / "process", "0", "1", "10000")
        self.assertEqual(done.returncode, 1)
        self.assertIn("run ./build first", done.stderr)

    def test_process_runs_where_nothing_can_be_recorded(self) -> None:
        (self.checkout / ".run").write_text("in the way")
        done = self.call(self.checkout / "master" / "process", "0", "1", "10000", OVID_BIN="/bin/echo")
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("server 0 1 10000\n", "", 0))

    def test_build_without_cargo_says_what_to_do(self) -> None:
        tools = self.directory / "tools"
        tools.mkdir()
        (tools / "dirname").symlink_to(shutil.which("dirname"))
        done = self.call(self.checkout / "master" / "build", PATH=str(tools))
        self.assertEqual(done.returncode, 1)
        self.assertIn("cargo was not found", done.stderr)

    def test_build_has_nothing_to_do_for_a_finished_server(self) -> None:
        self.assertEqual(
            self.call(
                self.checkout / "master" / "build", PATH="/usr/bin:/bin", OVID_BIN="/bin/echo"
            ).returncode,
            0,
        )
        self.assertEqual(
            self.call(self.checkout / "master" / "build", OVID_BIN="/no/such/program").returncode, 1
        )


if __name__ == "__main__":
    unittest.main()
