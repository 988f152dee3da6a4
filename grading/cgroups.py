"""Control groups of Linux, of the first and the second kind: exact limits of memory and processes for one sandbox.

They are used where this process may make them; elsewhere the supervisor counts by itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass

from order import Limits

PREFIX = "ovid-grader-"
# The supervisor's first process and the master count too, but are not the submission's doing.
OWN_PROCESSES = 2


@dataclass
class Parent:
    """A folder in which this process may make control groups, and what they can limit."""

    folder: str
    version: int
    controllers: list[str]


def find_parents() -> list[Parent]:
    """Where control groups for both memory and processes can be made; nothing when one of them cannot."""
    try:
        own = _own_groups()
        mounts = _mounts()
    except OSError:
        return []
    for candidates in (_second_kind(own, mounts), _first_kind(own, mounts)):
        if candidates and _works(candidates):
            for parent in candidates:
                _sweep(parent.folder)
            return candidates
    return []


def _own_groups() -> dict[str, str]:
    """Controller (empty for the second kind) to this process's path."""
    found = {}
    with open("/proc/self/cgroup", encoding="utf-8") as lines:
        for line in lines:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                found[controller] = path
    return found


def _mounts() -> list[tuple[str, str, str, list[str]]]:
    """(root, mount point, type, super options) of each control group file system."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(None, 2)
            if kind in ("cgroup", "cgroup2"):
                words = left.split()
                found.append((words[3], words[4], kind, options.strip().split(",")))
    return found


def _folder(root: str, point: str, path: str) -> str:
    inside = os.path.relpath(path, root) if root != "/" and path.startswith(root) else path.lstrip("/")
    return os.path.normpath(os.path.join(point, inside))


def _second_kind(own: dict[str, str], mounts: list[tuple[str, str, str, list[str]]]) -> list[Parent]:
    for root, point, kind, _ in mounts:
        if kind == "cgroup2" and "" in own:
            return [Parent(_folder(root, point, own[""]), 2, ["memory", "pids"])]
    return []


def _first_kind(own: dict[str, str], mounts: list[tuple[str, str, str, list[str]]]) -> list[Parent]:
    found = []
    for wanted in ("memory", "pids"):
        for root, point, kind, options in mounts:
            if kind == "cgroup" and wanted in options and wanted in own:
                found.append(Parent(_folder(root, point, own[wanted]), 1, [wanted]))
                break
    return found if len(found) == 2 else []


def _works(parents: list[Parent]) -> bool:
    made = create(parents, f"{PREFIX}{os.getpid()}-probe", Limits())
    remove(made)
    return bool(made)


def create(parents: list[Parent], name: str, limits: Limits) -> list[str]:
    """New control groups with these limits, as folders; nothing when the system does not let us."""
    made: list[str] = []
    try:
        for parent in parents:
            folder = os.path.join(parent.folder, name)
            os.mkdir(folder)
            made.append(folder)
            if "memory" in parent.controllers:
                _limit_memory(folder, parent.version, limits.memory_bytes)
            if "pids" in parent.controllers:
                _write(f"{folder}/pids.max", limits.processes + OWN_PROCESSES)
            # Only a control group that takes processes is of use.
            if not os.access(f"{folder}/cgroup.procs", os.W_OK):
                raise OSError(errno.EACCES, "cgroup.procs")
    except OSError:
        remove(made)
        return []
    return made


def _limit_memory(folder: str, version: int, memory_bytes: int) -> None:
    if version == 1:
        _write(f"{folder}/memory.limit_in_bytes", memory_bytes)
        swap = f"{folder}/memory.memsw.limit_in_bytes"
    else:
        _write(f"{folder}/memory.max", memory_bytes)
        memory_bytes = 0
        swap = f"{folder}/memory.swap.max"
    with contextlib.suppress(OSError):
        _write(swap, memory_bytes)


def _write(path: str, value: int) -> None:
    # Never create: a missing file means that the controller is not there.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def remove(folders: list[str]) -> None:
    """Remove control groups; the last process of one may take a moment to be gone."""
    for folder in folders:
        ends_at = time.monotonic() + 2
        while True:
            try:
                os.rmdir(folder)
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > ends_at:
                    break
            time.sleep(0.005)


def _sweep(parent: str) -> None:
    """Remove what a grader left that was killed before it could."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            words = name[len(PREFIX) :].split("-")
            if name.startswith(PREFIX) and words[0].isdigit() and not os.path.exists(f"/proc/{words[0]}"):
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.join(parent, name))
