"""What the grader orders from the supervisor of one sandbox, and what the supervisor reports back.

Both sides run different programs (`grading.py` and `jail.py`), so this is the wire between them: one line of JSON
each way.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass
class Limits:
    """What one test, or one build, may use in total."""

    seconds: float = 120.0
    memory_bytes: int = 2048 * MIB
    processes: int = 512
    disk_bytes: int = 1024 * MIB
    output_bytes: int = 16 * MIB


@dataclass
class Order:
    """One sandbox: what runs in it, what it sees, and what it may use."""

    mode: str  # "namespaces", "processes" or "none"
    folder: str  # where the submission appears; the working directory
    tree: str  # where its files are: read only in namespaces, a copy of its own otherwise
    limits: Limits
    environment: dict[str, str]
    command: list[str] = field(default_factory=list)  # a program to execute, or nothing: master.py is run
    master: str = ""
    arguments: list[str] = field(default_factory=list)  # of master.py
    script: str = ""  # the standard input, never a file that the submission could open
    uid: int | None = None  # who the submission is, where the grader is root
    uid_processes: int = 0  # processes that this identity may have in all, other sandboxes included
    keep: str | None = None  # where to copy the submission's folder afterwards
    traces: str | None = None  # where to copy the servers' traces afterwards
    hidden: list[str] = field(default_factory=list)  # seen as empty
    needed: list[str] = field(default_factory=list)  # seen whatever lies above them
    cgroups: list[str] = field(default_factory=list)
    network: bool = False  # the machine's network instead of a private one
    record_descriptor: int = -1
    python: str = sys.executable
    private: str = ""  # without namespaces: a folder of this test's own for files that vanish

    def to_line(self) -> bytes:
        """The order as one line."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes) -> Order:
        """The order that `to_line` wrote."""
        values = json.loads(line)
        values["limits"] = Limits(**values["limits"])
        return Order(**values)


@dataclass
class Outcome:
    """What became of it."""

    status: int | None = None  # exit status, negative for a signal; None when it had to be ended
    limit: str | None = None  # which limit ended it: time, memory, processes, disk, output
    interrupted: bool = False
    error: str | None = None  # the sandbox itself could not be set up
    logs: dict[str, str] = field(default_factory=dict)  # the ends of the servers' outputs
    left: list[str] = field(default_factory=list)  # command lines of processes that lived on
    notes: list[str] = field(default_factory=list)

    def to_line(self) -> bytes:
        """The outcome as one line."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes) -> Outcome:
        """The outcome that `to_line` wrote."""
        return Outcome(**json.loads(line))
