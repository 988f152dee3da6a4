"""One started server as a process group: its start, its end, and what it said on standard error."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import groups

STOPALL_SECONDS = 5.0
REAP_SECONDS = 2.0
POLL_SECONDS = 0.002
TAIL_BYTES = 8192
TAIL_LINES = 5


@dataclass(frozen=True)
class Launcher:
    """How servers are started and stopped."""

    directory: Path
    process: str = "./process"
    stopall: str = "./stopall"
    output_directory: Path | None = None
    debug: bool = False

    def command(self, text: str) -> list[str]:
        """The words of a command; the first is looked up in the directory unless it is absolute."""
        words = shlex.split(text)
        if not words:
            raise ValueError("an empty command")
        there = self.directory / words[0]
        if "/" in words[0] or (there.is_file() and os.access(there, os.X_OK)):
            words[0] = str(there)
        return words

    def environment(self) -> dict[str, str]:
        """Ours, and the mark by which groups.py knows what this checkout started."""
        directory = str(groups.run_directory())
        return {
            **os.environ,
            "OVID_RUN": directory,
            "OVID_RUN_DIR": directory,
            # Spares a `process` that records itself the one thing that a shell cannot read by itself.
            "OVID_NAMESPACE": groups.namespace_id(),
        }


class ServerProcess:
    """The process group of one started server.

    Its leader is not reaped before the group has been killed: as long as it waits to be reaped its number
    cannot be given to a stranger, so the kill always meets the right group, even when the leader ended long
    ago.
    """

    def __init__(self, launcher: Launcher, server_id: int, start_number: int, arguments: list[str]) -> None:
        words = [*launcher.command(launcher.process), *arguments]
        self._error_path: Path | None = None
        self._tail = b""
        self.error_pipe = -1
        out, err, opened = self._outputs(launcher, server_id, start_number)
        try:
            self._popen = _launch(launcher, words, out, err)
        except BaseException:
            if self.error_pipe >= 0:
                os.close(self.error_pipe)
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)
        self.pgid = self._popen.pid
        self.killed = False
        self._record = groups.record(groups.SERVER, self.pgid, " ".join(words))

    def _outputs(self, launcher: Launcher, server_id: int, start_number: int) -> tuple[int, int, list[int]]:
        """Standard output and error for the server, and the descriptors to close once it has them."""
        if launcher.output_directory is not None:
            base = launcher.output_directory / f"server-{server_id}-{start_number}"
            self._error_path = base.with_name(base.name + ".err")
            paths = (base.with_name(base.name + ".out"), self._error_path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            opened = [os.open(path, flags, 0o644) for path in paths]
            return opened[0], opened[1], opened
        if launcher.debug:
            return 2, 2, []  # Standard output is for answers.
        self.error_pipe, writer = os.pipe()
        os.set_blocking(self.error_pipe, False)
        return subprocess.DEVNULL, writer, [writer]

    def drain_errors(self) -> bool:
        """Keeps the end of what the server wrote on standard error; False at the end of it."""
        try:
            for _ in range(16):
                data = os.read(self.error_pipe, 1 << 16)
                if not data:
                    return False
                self._tail = (self._tail + data)[-TAIL_BYTES:]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def last_errors(self) -> str:
        """The last lines of the server's standard error, for a message; empty when there are none."""
        if self.error_pipe >= 0:
            self.drain_errors()
        elif self._error_path is not None:
            try:
                with self._error_path.open("rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                    self._tail = file.read(TAIL_BYTES)
            except OSError:
                pass
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()[-TAIL_LINES:]
        return "".join(f"\n    | {line}" for line in lines)

    def status(self) -> str | None:
        """How the leader ended, in words; None while it runs."""
        code = self._exit_code()
        if code is None:
            return None
        if code >= 0:
            return f"exit status {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def failed(self) -> bool:
        """Whether the leader ended in another way than a `process` that leaves its server in the background."""
        return self._exit_code() not in (None, 0)

    def is_running(self) -> bool:
        """Whether anything of the group runs."""
        if self._exit_code() is None:
            return True
        return bool(groups.members_of_group(self.pgid))

    def _exit_code(self) -> int | None:
        if self._popen.returncode is not None or not hasattr(os, "waitid"):
            return self._popen.poll()
        try:
            ended = os.waitid(os.P_PID, self.pgid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return self._popen.poll()
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def kill(self) -> None:
        """Kills the whole group; returns before it has ended."""
        if not self.killed:
            self.killed = True
            with contextlib.suppress(OSError):  # All of it may have ended.
                os.killpg(self.pgid, signal.SIGKILL)

    def reap(self, limit_seconds: float = REAP_SECONDS) -> None:
        """Waits for the killed leader, and forgets the group."""
        try:
            self._popen.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            return  # Stuck in the kernel; its record stays.
        groups.forget(self._record)
        if self.error_pipe >= 0:
            os.close(self.error_pipe)
            self.error_pipe = -1


def run_stopall(launcher: Launcher) -> str | None:
    """Calls the submission's stopall, bounded in time; what went wrong with it, if anything."""
    sink = 2 if launcher.debug else subprocess.DEVNULL
    try:
        stopall = _launch(launcher, launcher.command(launcher.stopall), sink, sink)
    except (OSError, ValueError) as error:
        return f"cannot run {launcher.stopall}: {getattr(error, 'strerror', None) or error}"
    deadline = time.monotonic() + STOPALL_SECONDS
    while stopall.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if stopall.returncode is not None:
        return None
    os.killpg(stopall.pid, signal.SIGKILL)
    stopall.wait()
    return f"{launcher.stopall} did not end within {STOPALL_SECONDS:g} s and was killed"


def _launch(launcher: Launcher, words: list[str], out: int, err: int) -> subprocess.Popen[bytes]:
    """Starts a program of the submission where it expects to be, in a process group of its own."""
    return subprocess.Popen(
        words,
        cwd=launcher.directory,
        env=launcher.environment(),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        preexec_fn=_child_setup(),  # noqa: PLW1509 - no other thread runs while a server is started
    )


def _child_setup() -> Callable[[], None]:
    """What a child does before it becomes the command: a group of its own, and on Linux no life after the master.

    The master's death can only be announced to the child itself: what it starts is covered by its group
    alone.
    """
    master = os.getpid()
    announce = _death_announcer()

    def setup() -> None:
        os.setpgid(0, 0)
        if announce is not None:
            announce()
            if os.getppid() != master:
                os._exit(1)

    return setup


def _death_announcer() -> Callable[[], object] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes

        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):
        return None
    set_parent_death_signal = 1
    return lambda: prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)
