"""Who is in a sandbox and how much they use, where no control group counts it.

On Linux /proc is read; elsewhere `ps` is asked, which is slower and knows less.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass


@dataclass
class Process:
    """One process, as far as the system tells."""

    pid: int
    parent: int
    group: int
    uid: int
    threads: int
    memory_bytes: int
    name: str


def processes(proc: str = "/proc") -> list[Process]:
    """All processes that `proc`, a mounted process file system, shows; on other systems all that `ps` shows."""
    if sys.platform != "linux":
        return _from_ps()
    found = []
    for name in os.listdir(proc):
        if name.isdigit():
            with contextlib.suppress(OSError, KeyError, ValueError, IndexError):
                found.append(_from_status(int(name), f"{proc}/{name}/status"))
    return found


def _from_status(pid: int, path: str) -> Process:
    with open(path, encoding="utf-8", errors="replace") as file:
        values = dict(line.split(":", 1) for line in file if ":" in line)
    if values["State"].split()[0] in "ZX":
        raise ValueError("dead already")
    # What is mapped from files is shared by all servers of a grid; counting it once a server would be unjust.
    memory_kib = sum(int(values.get(key, "0").split()[0]) for key in ("RssAnon", "RssShmem"))
    group = int(values.get("NSpgid", "0").split()[0])
    uid = int(values["Uid"].split()[0])
    return Process(
        pid,
        int(values["PPid"]),
        group,
        uid,
        int(values["Threads"]),
        memory_kib * 1024,
        values["Name"].strip(),
    )


def _from_ps() -> list[Process]:
    import subprocess  # only here: a sandbox on Linux starts the sooner without it

    columns = ["ps", "-axo", "pid=,ppid=,pgid=,uid=,rss=,stat=,comm="]
    try:
        listing = subprocess.run(columns, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in listing.splitlines():
        with contextlib.suppress(ValueError):
            pid, parent, group, uid, memory_kib, state, name = line.split(None, 6)
            if not state.startswith("Z"):
                found.append(
                    Process(int(pid), int(parent), int(group), int(uid), 1, int(memory_kib) * 1024, name)
                )
    return found


def command_line(process: Process) -> str:
    """What was started, as far as the system tells."""
    with contextlib.suppress(OSError), open(f"/proc/{process.pid}/cmdline", "rb") as file:
        return file.read(300).replace(b"\0", b" ").decode("utf-8", "replace").strip() or process.name
    return process.name


def descendants(everyone: list[Process], ancestor: int) -> list[Process]:
    """Those that `ancestor` started, directly or not, as far as the chain of parents still shows it."""
    children: dict[int, list[Process]] = {}
    for process in everyone:
        children.setdefault(process.parent, []).append(process)
    found, waiting = [], [ancestor]
    while waiting:
        for child in children.pop(waiting.pop(), []):
            found.append(child)
            waiting.append(child.pid)
    return found
