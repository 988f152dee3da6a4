"""What the master's tests share: a directory with fake servers, and runs of the master in it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MASTER = ROOT / "master"
FAKE = Path(__file__).resolve().parent / "fake_server.py"
# Only for what should never happen: the machine may be slow, and a test must fail rather than hang.
PATIENCE_SECONDS = 60.0

PROCESS_IN_FOREGROUND = '#!/bin/sh\nexec {python} {fake} "$@"\n'
PROCESS_IN_BACKGROUND = '#!/bin/sh\n{python} {fake} "$@" &\nexit 0\n'
PROCESS_THAT_ESCAPES = """#!/bin/sh
exec {python} - "$@" <<'END'
import os, sys
if os.fork() == 0:
    os.setsid()
    with open(os.environ["FAKE_DIRECTORY"] + "/escaped", "w") as file:
        file.write(str(os.getpid()))
    os.execv(sys.executable, [sys.executable, {fake!r}, *sys.argv[1:]])
END
"""
STOPALL = '#!/bin/sh\necho called >>"$FAKE_DIRECTORY/stopall-calls"\n'


@dataclass
class Result:
    status: int
    out: bytes
    err: str
    events: list[dict]

    def lines(self) -> list[str]:
        return self.out.decode("utf-8", "surrogateescape").splitlines()

    def problems(self) -> list[tuple[str, int, int | None]]:
        """Kind, line and server of each problem."""
        return [(e["kind"], e["line"], e["server"]) for e in self.events if e["event"] == "problem"]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > ends_at:
            raise AssertionError(f"waited {PATIENCE_SECONDS:g} s in vain: {what}")
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    """Ports that are free now, from below those that the system gives to the near end of connections."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        if port not in ports:
            ports.append(port)
    return ports


def heed_signals() -> None:
    """For a child: a runner in the background of a shell ignores Ctrl-C, and its children would do so too."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class MasterTest(unittest.TestCase):
    """A test with a directory of its own; nothing that was started there may outlive it."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ovid-master-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.addCleanup(self.end_left_overs)
        self.ports = free_ports(4)
        self.environment = {
            **os.environ,
            "FAKE_DIRECTORY": str(self.directory),
            "OVID_RUN_DIR": str(self.directory / "run"),
        }
        self.write_process(PROCESS_IN_FOREGROUND)
        self.write_executable("stopall", STOPALL)

    def write_executable(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)

    def write_process(self, text: str) -> None:
        self.write_executable(
            "process",
            text.replace("{python}", sys.executable)
            .replace("{fake}", str(FAKE))
            .replace("{fake!r}", repr(str(FAKE))),
        )

    def set_mode(self, server: int, mode: str) -> None:
        (self.directory / f"mode-{server}").write_text(mode)

    def script(self, text: str) -> str:
        """The script with the ports of this test in place of P0 to P3."""
        for number, port in enumerate(self.ports):
            text = text.replace(f"P{number}", str(port))
        return text

    def command(self, *arguments: str, **tuned: float) -> list[str]:
        """The master's command line. `tuned` sets limits of its modules, as in grid_CRASH_SECONDS=0.1."""
        head = [sys.executable, str(MASTER / "master.py")]
        if tuned:
            lines = [f"import sys; sys.path.insert(0, {str(MASTER)!r}); import master"]
            for name, value in tuned.items():
                module, _, constant = name.partition("_")
                lines.append(
                    f"import {module}; assert hasattr({module}, {constant!r}); {module}.{constant} = {value!r}"
                )
            head = [sys.executable, "-c", "\n".join([*lines, "sys.exit(master.main(sys.argv[1:]))"])]
        return [
            *head,
            "--directory",
            str(self.directory),
            "--record",
            str(self.directory / "record"),
            *arguments,
        ]

    def run_master(self, script: str | bytes, *arguments: str, **tuned: float) -> Result:
        data = script if isinstance(script, bytes) else self.script(script).encode("utf-8", "surrogateescape")
        path = self.directory / "script"
        path.write_bytes(data)
        done = subprocess.run(
            self.command(str(path), *arguments, **tuned),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"), self.events())

    def events(self) -> list[dict]:
        try:
            return [json.loads(line) for line in (self.directory / "record").read_text().splitlines()]
        except OSError:
            return []

    def left_overs(self) -> list[int]:
        """The processes that carry this test's directory in their environment."""
        mark = b"FAKE_DIRECTORY=" + os.fsencode(self.directory)
        found = []
        for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
            if name.isdigit() and int(name) != os.getpid():
                try:
                    if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                        found.append(int(name))
                except OSError:
                    pass
        return found

    def end_left_overs(self) -> None:
        for pid in self.left_overs():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def assert_nothing_left(self) -> None:
        wait_until(lambda: not self.left_overs(), f"processes outlive the master: {self.left_overs()}")
