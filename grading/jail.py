"""The supervisor of one sandbox: `jail.py OUTCOME_DESCRIPTOR`, started by sandbox.py, never by hand.

It reads one order on standard input, starts what is ordered with the strongest separation that the order names, and
watches the limits from outside. The rest of standard input are orders to stop: `o` because of too much output, `i`
because the grader is interrupted; its end means that the grader is gone. The outcome is one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import census
import linux
import traces
from inside import exit_status, read_logs, run_as_init, start_payload
from order import Order, Outcome
from view import OUTPUT_FOLDER, RUN_FOLDER, TooLarge, copy_tree

# What the master imports must be its own.
sys.path.pop(0)

WATCH_SECONDS = 0.05
COLLECT_SECONDS = 5.0
STOPALL_SECONDS = 5.0
DISK_FULL_BYTES = 64 * 1024
"""A disk with less room is called full: whoever ran into its end may have removed a small file since."""
STORAGE_SECONDS = 0.5
"""How often folders are gone through."""


class Supervisor:
    """One order, from start to outcome; the two ways of carrying it out derive from it."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.outcome = Outcome()
        self.ends_at = time.monotonic() + order.limits.seconds
        self.terminated = False
        self.wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._terminate)

    def _terminate(self, *_: object) -> None:
        self.terminated = True

    def let_go_of_pipes(self) -> None:
        """Only the sandbox writes to the grader's pipes now, so that their ends mean its end."""
        for descriptor in (1, 2, self.order.record_descriptor):
            if descriptor >= 0:
                os.close(descriptor)

    def must_stop(self) -> bool:
        """A limit is reached, or nobody wants the outcome any more; the outcome then says so."""
        if self.terminated:
            self.outcome.interrupted = True
        elif self.outcome.limit is None and not self.outcome.interrupted:
            self.outcome.limit = self.limit_reached()
        return self.outcome.interrupted or self.outcome.limit is not None

    def look_at_storage(self) -> None:
        """At the end: all may have been over before anybody looked."""
        if self.outcome.limit is None and not self.outcome.interrupted:
            self.outcome.limit = self.storage_limit()

    def keep_traces(self, root: str = "") -> None:
        """The traces as the servers left them, from below `root`."""
        if self.order.traces is None:
            return
        try:
            traces.collect(root + self.order.environment[traces.VARIABLE], self.order.traces)
        except OSError as error:
            self.outcome.notes.append(f"the traces could not be kept: {error}")

    def take_control(self) -> None:
        """What the grader says while the sandbox runs."""
        word = os.read(0, 1)
        if word == b"o":
            self.outcome.limit = "output"
        else:
            self.outcome.interrupted = True

    def limit_reached(self) -> str | None:
        """The limit that the sandbox has run into, if any."""
        limits = self.order.limits
        if time.monotonic() > self.ends_at:
            return "time"
        reached = cgroup_limit(self.order.cgroups)
        if reached is not None:
            return reached
        if not self.order.cgroups and self.order.mode != "none":
            members = self.members()
            if sum(member.threads for member in members) >= limits.processes:
                return "processes"
            if sum(member.memory_bytes for member in members) > limits.memory_bytes:
                return "memory"
        return self.storage_limit()

    def members(self) -> list[census.Process]:
        """Who is in the sandbox."""
        raise NotImplementedError

    def storage_limit(self) -> str | None:
        """Disk and output."""
        raise NotImplementedError


def cgroup_limit(cgroups: list[str]) -> str | None:
    """What the control groups, of the first or the second kind, have refused so far."""
    for folder in cgroups:
        for name, key, limit in (
            ("pids.events", "max", "processes"),
            ("memory.oom_control", "oom_kill", "memory"),
            ("memory.events", "oom_kill", "memory"),
        ):
            with contextlib.suppress(OSError, ValueError):
                with open(f"{folder}/{name}", encoding="ascii") as file:
                    values = dict(line.split() for line in file)
                if int(values.get(key, "0")) > 0:
                    return limit
    return None


def size_of(folder: str, entries_max: int = 20_000) -> int:
    """Bytes in the files under a folder, as far as they can be counted quickly."""
    total, waiting = 0, [folder]
    while waiting and entries_max > 0:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                entries_max -= 1
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


class InNamespaces(Supervisor):
    """Everything in namespaces of its own: what is started there ends with their first process."""

    def run(self) -> None:
        try:
            self._start()
        except OSError as error:
            self.outcome.error = linux.describe(error)
            return
        self.let_go_of_pipes()
        final = self._watch()
        if final is not None:
            self.outcome.status = final.get("status")
            self.outcome.left = final["left"]
            self.outcome.logs = final["logs"]
            self.look_at_storage()
            if self.order.keep is not None and self.outcome.status == 0 and not self.must_stop():
                self._keep()
            self.keep_traces(f"/proc/{self.init}/root")
        elif self.outcome.error is None and not self.must_stop():
            self.outcome.error = "the first process of the sandbox was killed from outside"
        with contextlib.suppress(OSError):
            os.kill(self.init, signal.SIGKILL)
        os.waitpid(self.init, 0)
        if self.outcome.limit is None:
            self.outcome.limit = cgroup_limit(self.order.cgroups)

    def _start(self) -> None:
        flags = linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
        if not self.order.network:
            flags |= linux.CLONE_NEWNET
        uid, gid = os.geteuid(), os.getegid()
        if uid == 0:
            linux.unshare(flags)
        else:
            os.environ.update(OVID_OUTSIDE_UID=str(uid), OVID_OUTSIDE_GID=str(gid))
            linux.unshare(flags | linux.CLONE_NEWUSER)
            linux.map_identity(0, uid, 0, gid)
        self.report, report = os.pipe()
        command, self.command = os.pipe()
        ready, set_ready = os.pipe()
        self.init = os.fork()
        if self.init == 0:
            for descriptor in (self.report, self.command, set_ready, self.wake):
                os.close(descriptor)
            run_as_init(self.order, report, command, ready)
        for descriptor in (report, command, ready):
            os.close(descriptor)
        for folder in self.order.cgroups:
            with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(self.init))
        self.ends_at = time.monotonic() + self.order.limits.seconds
        os.write(set_ready, b"r")
        os.close(set_ready)

    def _watch(self) -> dict | None:
        """Until the last report of process 1, or nothing when there is none."""
        said = b""
        told_to_end = None
        while True:
            readable, _, _ = select.select([0, self.report, self.wake], [], [], WATCH_SECONDS)
            if self.wake in readable:
                os.read(self.wake, 4096)
            if self.report in readable:
                data = os.read(self.report, 65536)
                said += data
                for line in said.split(b"\n")[:-1]:
                    report = json.loads(line)
                    if "error" in report:
                        self.outcome.error = report["error"]
                    if "left" in report:
                        return report
                said = said.rpartition(b"\n")[2]
                if not data:
                    return None
            if told_to_end is None and 0 in readable:
                self.take_control()
            if told_to_end is None and self.must_stop():
                os.write(self.command, b"e")
                told_to_end = time.monotonic()
            if told_to_end is not None and time.monotonic() > told_to_end + COLLECT_SECONDS:
                return None

    def _keep(self) -> None:
        """The folder as the build left it. Nothing runs in the sandbox any more, so nothing moves meanwhile."""
        source = f"/proc/{self.init}/root{self.order.folder}"
        try:
            copy_tree(source, self.order.keep or "", self.order.uid, [])
        except (OSError, TooLarge) as error:
            self.outcome.error = f"cannot keep what was built: {error}"

    def members(self) -> list[census.Process]:
        with contextlib.suppress(OSError):
            return census.processes(f"/proc/{self.init}/root/proc")
        return []

    def storage_limit(self) -> str | None:
        inside = f"/proc/{self.init}/root"
        with contextlib.suppress(OSError):
            # Before the view is built this is the machine's /run, which is no concern of this test.
            if not os.path.isdir(inside + RUN_FOLDER):
                return None
            disk = os.statvfs(inside + RUN_FOLDER)
            if disk.f_bavail * disk.f_frsize < DISK_FULL_BYTES or disk.f_ffree == 0:
                return "disk"
            if size_of(inside + OUTPUT_FOLDER) > self.order.limits.output_bytes:
                return "output"
        return None


class WithProcesses(Supervisor):
    """Without namespaces: what was started is found again by its identity, its ancestors and its groups."""

    def run(self) -> None:
        if sys.platform == "linux":
            # Whoever loses its parent becomes this process's child, and so cannot get away by forking twice.
            linux.control(linux.PR_SET_CHILD_SUBREAPER, 1)
        self.groups: set[int] = set()
        self.buried: dict[int, int] = {}
        self.storage_seen_at = -STORAGE_SECONDS
        outputs = os.path.join(self.order.private, "output")
        try:
            outputs_descriptor = os.open(outputs, os.O_RDONLY | os.O_DIRECTORY)
            payload = start_payload(self.order)
        except OSError as error:
            self.outcome.error = linux.describe(error)
            return
        self.let_go_of_pipes()
        self.groups.add(payload)
        self._watch(payload)
        self.storage_seen_at = -STORAGE_SECONDS
        self.look_at_storage()
        if self.outcome.status is None or self.outcome.status < 0:
            self._stop_all()
        self.outcome.left = (
            [census.command_line(member) for member in self.members()][:20]
            if self.outcome.status is not None
            else []
        )
        if not self._end_all():
            self.outcome.notes.append("some processes could not be ended")
        self.outcome.logs = read_logs(outputs_descriptor)
        self.keep_traces()
        if self.outcome.limit is None:
            self.outcome.limit = cgroup_limit(self.order.cgroups)

    def _watch(self, payload: int) -> None:
        while True:
            self._bury()
            if payload in self.buried:
                self.outcome.status = exit_status(self.buried[payload])
                return
            readable, _, _ = select.select([0, self.wake], [], [], WATCH_SECONDS)
            if self.wake in readable:
                os.read(self.wake, 4096)
            if 0 in readable:
                self.take_control()
            if self.must_stop():
                return

    def _bury(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self.buried[pid] = status

    def _stop_all(self) -> None:
        """The submission's own stopall, which the master did not come to call."""
        path = os.path.join(self.order.folder, "stopall")
        if not os.access(path, os.X_OK) or self.order.command:
            return
        quiet = Order(**{**self.order.__dict__, "command": [path], "script": "", "record_descriptor": -1})
        pid = start_payload(quiet)
        self.groups.add(pid)
        ends_at = time.monotonic() + STOPALL_SECONDS
        while pid not in self.buried and time.monotonic() < ends_at:
            select.select([self.wake], [], [], WATCH_SECONDS)
            self._bury()

    def _end_all(self) -> bool:
        """Kill until nobody is left: who forks while it is killed is met in the next round."""
        ends_at = time.monotonic() + COLLECT_SECONDS
        while True:
            if self.order.uid is not None:
                self._kill_identity()
            members = self.members()
            for member in members:
                with contextlib.suppress(OSError):
                    os.kill(member.pid, signal.SIGKILL)
            self._bury()
            if not members:
                return True
            if time.monotonic() > ends_at:
                return False
            select.select([], [], [], 0.01)

    def _kill_identity(self) -> None:
        """All of the submission's identity at once, which no fork can outrun."""
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(OSError):
                os.setgid(self.order.uid or 65534)
                os.setuid(self.order.uid or 65534)
                os.kill(-1, signal.SIGKILL)
            os._exit(0)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def members(self) -> list[census.Process]:
        everyone = census.processes()
        own = {member.pid: member for member in census.descendants(everyone, os.getpid())}
        self.groups |= {member.group for member in own.values()} - {0, os.getpgrp()}
        in_cgroups: set[int] = set()
        for folder in self.order.cgroups:
            with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", encoding="ascii") as file:
                in_cgroups |= {int(line) for line in file} - {os.getpid()}
        for process in everyone:
            is_same = self.order.uid is not None and process.uid == self.order.uid
            # A group is known from its members' ancestors; the system may show none of those any more.
            if is_same or process.pid in in_cgroups or process.group in self.groups:
                own[process.pid] = process
        own.pop(os.getpid(), None)
        return list(own.values())

    def storage_limit(self) -> str | None:
        if self.order.mode == "none" or time.monotonic() < self.storage_seen_at + STORAGE_SECONDS:
            return None
        self.storage_seen_at = time.monotonic()
        if size_of(os.path.join(self.order.private, "output")) > self.order.limits.output_bytes:
            return "output"
        # The folder began with `tree` in it, which is not the test's doing; but it is small beside the limit.
        if size_of(self.order.private) > self.order.limits.disk_bytes:
            return "disk"
        return None


def main() -> None:
    if sys.platform == "linux":
        linux.control(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        # As root: what watches is not starved by what it watches. The payload goes back to 0.
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    line = b""
    while not line.endswith(b"\n"):
        # One byte at a time past the buffer's end would eat what follows the order.
        data = os.read(0, 65536)
        if not data:
            sys.exit(2)
        line += data
    order = Order.from_line(line)
    supervisor = InNamespaces(order) if order.mode == "namespaces" else WithProcesses(order)
    try:
        supervisor.run()
    except Exception as error:  # whatever it is, the grader must hear of it
        supervisor.outcome.error = f"{type(error).__name__}: {error}"
    with os.fdopen(report, "wb") as file:
        file.write(supervisor.outcome.to_line())


if __name__ == "__main__":
    main()
