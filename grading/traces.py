"""Traces of wrong tests: collected from the sandbox, drawn by `ovid trace html`, shown as one page a test.

The servers write what happens into the folder that OVID_TRACE_DIR names, if they know how; those of this repository do.
What lies there is the submission's own work: no link in it is followed, no pipe is opened, no more is copied than fits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field

VARIABLE = "OVID_TRACE_DIR"
FOLDER = "ovid-trace"  # in the temporary folder of a test
BYTES_MAX = 64 << 20
FILES_MAX = 1000
DRAW_SECONDS = 120.0


def collect(source: str, target: str) -> None:
    """Copy the traces in `source`, which a submission has made, into the folder `target`."""
    try:
        folder = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # nobody has written any
    try:
        left = BYTES_MAX
        for name in sorted(os.listdir(folder))[:FILES_MAX]:
            if name.endswith(".jsonl"):
                left -= _copy(folder, name, os.path.join(target, name), left)
    finally:
        os.close(folder)


def _copy(folder: int, name: str, goal: str, bytes_max: int) -> int:
    """One file, as far as it fits; how many bytes that were."""
    try:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return 0
    copied = 0
    with os.fdopen(source, "rb") as file:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            return 0
        with open(goal, "wb") as out:
            while copied < bytes_max:
                data = file.read(min(1 << 20, bytes_max - copied))
                if not data:
                    break
                out.write(data)
                copied += len(data)
    return copied


@dataclass
class Traces:
    """The pages of one call of the grader."""

    folder: str  # where the pages go
    submission: str
    work: str  # for what is needed on the way
    drawn: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self, test: str) -> None:
        """A page of an earlier call must not be taken for one of this call."""
        with self.lock:
            if test not in self.drawn:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.page(test))

    def page(self, test: str) -> str:
        """Where the page of a test is."""
        return os.path.join(self.folder, *test.split("/")) + ".html"

    def new_folder(self) -> str:
        """A place for the traces of one attempt."""
        return tempfile.mkdtemp(prefix="trace-", dir=self.work)

    def show(self, test: str, traces: str) -> str:
        """Draw the traces of a wrong test; what to say about it."""
        with self.lock:
            if test in self.drawn:
                return f"trace of another run: {self.page(test)}"
            if not os.listdir(traces):
                return f"trace: none, since these servers write nothing into {VARIABLE} (those of ovid do)"
            self.drawn.add(test)
        page = self.page(test)
        os.makedirs(os.path.dirname(page), exist_ok=True)
        program = self.program()
        problem = "no ovid was found to draw with (master/build makes one)"
        if program is not None:
            problem = _draw(program, traces, page, test)
            if problem is None:
                return f"trace: {page}"
        kept = page.removesuffix(".html")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(traces, kept)
        return f"trace: {problem}; to draw it: ovid trace html {kept} -o {page}"

    def program(self) -> str | None:
        """The ovid that draws: the one that process starts, where the submission is ours, else this checkout's."""
        built = os.path.join("target", "release", "ovid")
        checkout = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
        candidates = [
            os.environ.get("OVID_BIN", ""),
            os.path.join(os.path.dirname(self.submission), built),
            os.path.join(checkout, built),
        ]
        return next((path for path in candidates if path and os.access(path, os.X_OK)), None)


def _draw(program: str, traces: str, page: str, title: str) -> str | None:
    """What went wrong, if anything did."""
    command = [program, "trace", "html", traces, "-o", page, "--title", title]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DRAW_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it cannot be drawn: {error}"
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
        return f"it cannot be drawn: {said[-1] if said else f'exit status {done.returncode}'}"
    return None
