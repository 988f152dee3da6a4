"""Finds out, by trying, how strongly this machine can separate a submission from the grader, and says it plainly."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

import census
import cgroups
from cases import UsageError
from order import Limits, Order
from sandbox import Sandboxes

MODES = ("namespaces", "processes", "none")
# Identities that no system hands out to people or services by default.
UIDS = range(61200, 61900)


@dataclass
class Isolation:
    """The separation in use."""

    mode: str
    uid: int | None = None
    cgroup_parents: list[cgroups.Parent] = field(default_factory=list)
    why_not: str = ""  # why nothing stronger
    python: str = sys.executable  # what runs the supervisor and the master
    locks: list[socket.socket] = field(default_factory=list)

    def release(self) -> None:
        """Give the identity back."""
        for lock in self.locks:
            lock.close()

    def side_by_side(self) -> bool:
        """Whether several tests can run at once: only with a network of their own."""
        return self.mode == "namespaces"

    def describe(self) -> str:
        """One line: what protects, and what is not protected."""
        if self.mode == "namespaces":
            who = "an unprivileged identity" if self.uid is not None else "your identity, read-only files"
            counted = "control groups" if self.cgroup_parents else "a watching process"
            return f"namespaces ({who}; limits by {counted})"
        reason = f" because {self.why_not}" if self.why_not else ""
        return f"{self.mode}{reason}; not protected: {'; '.join(self.unprotected())}"

    def unprotected(self) -> list[str]:
        """What a submission could do here that it could not in namespaces."""
        if self.mode == "namespaces":
            return []
        weak = ["ports are shared with the machine (one test at a time)"]
        if self.mode == "processes" and self.uid is not None:
            weak.append("the network is open; what other users may read is readable")
            return weak
        weak.append("expected outputs can be read, and the grader killed, by a submission that tries")
        if self.mode == "none":
            weak.append("memory, processes and disk have no limits")
        elif sys.platform != "linux":
            weak.append("a daemon that leaves its group and parent may survive; disk in /tmp is not limited")
        else:
            weak.append("disk outside the submission's folder is not limited")
        return weak


def base(mode: str) -> Isolation:
    """An isolation of this mode with what goes with it, before anything is tried."""
    found = Isolation(mode)
    if mode != "none" and sys.platform == "linux":
        if os.geteuid() == 0:
            found.uid = _free_identity(found)
        if found.uid is not None and mode == "processes":
            _choose_python(found)
        found.cgroup_parents = cgroups.find_parents()
    return found


def _choose_python(isolation: Isolation) -> None:
    """Without a mount namespace the lower identity needs an interpreter that others may use, too."""
    for candidate in (sys.executable, *_pythons()):
        ask = (
            "import os, sys; print(os.path.realpath(sys.executable), os.__file__, sys.version_info >= (3, 9))"
        )
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            said = subprocess.run(
                [candidate, "-I", "-S", "-c", ask], capture_output=True, text=True, timeout=20, check=True
            )
            program, library, is_new_enough = said.stdout.split()
            if is_new_enough == "True" and _passable(program) and _passable(library):
                isolation.python = candidate
                return
    isolation.uid = None
    isolation.why_not = "no Python that other users may run, so it runs as root"


def _pythons() -> list[str]:
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    return [path for folder in folders if os.access(path := os.path.join(folder, "python3"), os.X_OK)]


def _passable(path: str) -> bool:
    """Whether any identity may read this file or folder."""
    path = os.path.realpath(path)
    if not os.stat(path).st_mode & 0o004:
        return False
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


def _free_identity(isolation: Isolation) -> int | None:
    """A user id that nobody has: not the password file, no process, no other grader at work."""
    taken = {process.uid for process in census.processes()}
    for uid in UIDS:
        if uid in taken or not _lock(isolation, f"ovid-grader-uid-{uid}"):
            continue
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
    return None


def _lock(isolation: Isolation, name: str) -> bool:
    """A name that one process of this machine can hold, until it ends."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(OSError):
        lock.bind("\0" + name)
        isolation.locks.append(lock)
        return True
    lock.close()
    return False


def choose(wanted: str | None, sandboxes: Sandboxes) -> Isolation:
    """The wanted separation, or else the best that a trial shows to work."""
    reason = ""
    if wanted in (None, "namespaces"):
        found = base("namespaces")
        reason = _try(found, sandboxes)
        if not reason:
            return found
        found.release()
        if wanted is not None:
            raise UsageError(f"--isolation namespaces: it does not work here: {reason}")
    found = base(wanted or "processes")
    reasons = [f"namespaces do not work here ({reason})" if reason else "", found.why_not]
    found.why_not = "; ".join(filter(None, reasons))
    return found


def _try(isolation: Isolation, sandboxes: Sandboxes) -> str:
    """Start one real sandbox that does nothing; why it fails, or nothing."""
    if sys.platform != "linux":
        return "only Linux has them"
    with tempfile.TemporaryDirectory(prefix="ovid-grader-") as made:
        folder = os.path.realpath(made)
        os.chmod(folder, 0o755)
        order = Order(
            "namespaces", folder, folder, Limits(seconds=20), {"PATH": os.defpath}, uid=isolation.uid
        )
        order.command = ["/bin/sh", "-c", "test ! -w / && : >written && rm written && exit 7"]
        # Without this an identity of its own could not write to what belongs to the caller.
        if isolation.uid is not None:
            os.chown(folder, isolation.uid, isolation.uid)
        finished = sandboxes.run(order)
    if finished.outcome.error is not None:
        return finished.outcome.error
    if finished.outcome.status != 7:
        return (
            f"the trial ended with {finished.outcome}: {finished.stderr.decode('utf-8', 'replace').strip()}"
        )
    return ""


def readable_by_others(folder: str) -> bool:
    """Whether any identity may look into a folder."""
    return _passable(folder)
