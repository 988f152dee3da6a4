"""The first process of a sandbox: it sets the sandbox up, runs master.py (or a build) in it, and tells what happened.

In namespaces it is process 1: nothing that it started can outlive it, and no signal from inside reaches it. Without
them the supervisor itself calls `start_payload`, and ends what was started by its own means.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import runpy
import select
import signal
import stat
import sys
import traceback

import linux
from order import Order
from view import OUTPUT_FOLDER, View

LOG_TAIL_BYTES = 4096
LOGS_MAX = 200


def run_as_init(order: Order, report: int, command: int, ready: int) -> None:
    """The life of process 1. `report` takes lines of JSON, `command` ends it early, `ready` says that limits hold."""
    linux.control(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.read(ready, 1)
    outputs = -1
    try:
        _enter(order)
        outputs = os.open(OUTPUT_FOLDER, os.O_RDONLY | os.O_DIRECTORY)
        # The kernel's choice when memory runs out must not be the one process that can tell of it.
        _prefer_when_memory_runs_out("-1000")
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        payload = start_payload(order)
    except OSError as error:
        _tell(report, error=linux.describe(error))
        os._exit(1)
    os.close(0)
    os.close(1)
    os.close(2)
    if order.record_descriptor >= 0:
        os.close(order.record_descriptor)
    _tell(report, started=True)
    status = _wait(payload, wake, command)
    left = _others()
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)
    _tell(report, status=status, left=left, logs=read_logs(outputs))
    # The supervisor looks at the files now, copies what is wanted, and then ends this process and with it the files.
    os.read(command, 1)
    os._exit(0)


def _enter(order: Order) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    if not order.network:
        linux.raise_loopback()
    linux.set_host_name("grid")
    View(order).build()


def _tell(report: int, **values: object) -> None:
    os.write(report, json.dumps(values).encode() + b"\n")


def _wait(payload: int, wake: int, command: int) -> int | None:
    """The payload's exit status; orphans that come to this process are buried meanwhile."""
    while True:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == payload:
                return exit_status(status)
            if pid == 0:
                break
        readable, _, _ = select.select([wake, command], [], [])
        if command in readable:
            os.read(command, 1)
            return None
        os.read(wake, 4096)


def exit_status(status: int) -> int:
    """What waitpid said, as subprocess would: negative for a signal."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _others() -> list[str]:
    """The command lines of what still lives in this namespace when it should not."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read(300).decode("utf-8", "replace").split("\0")
                if words != [""]:  # those that are dead already have none
                    found.append(" ".join(words).strip())
    return found[:20]


def read_logs(folder: int) -> dict[str, str]:
    """The end of each server's outputs. The folder is the submission's own: no link, no pipe in it is followed."""
    logs = {}
    for name in sorted(os.listdir(folder))[:LOGS_MAX]:
        with contextlib.suppress(OSError):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if stat.S_ISREG(found.st_mode) and found.st_size > 0:
                    start = max(0, found.st_size - LOG_TAIL_BYTES)
                    tail = os.pread(descriptor, LOG_TAIL_BYTES, start).decode("utf-8", "replace")
                    logs[name] = ("..." if start else "") + tail
            finally:
                os.close(descriptor)
    return logs


def start_payload(order: Order) -> int:
    """Fork what the sandbox is for, with a lower identity and limits of its own; the pid."""
    script = _as_file(order.script)
    pid = os.fork()
    if pid:
        os.close(script)
        return pid
    status = 70
    try:
        _become_payload(order, script)
        status = _run(order)
    except SystemExit as error:
        status = _status_of(error)
    except BaseException:  # this process must never go on as a second supervisor
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _as_file(text: str) -> int:
    """A descriptor to read `text` from, with no name that anybody else could open."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        return os.dup(file.fileno())


def _status_of(error: SystemExit) -> int:
    if isinstance(error.code, int):
        return error.code & 0xFF
    if error.code is not None:
        print(error.code, file=sys.stderr)
        return 1
    return 0


def _become_payload(order: Order, script: int) -> None:
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    _prefer_when_memory_runs_out("0")
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    if order.mode != "namespaces":
        for folder in order.cgroups:
            with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
    os.dup2(script, 0)
    _close_all_but({0, 1, 2, order.record_descriptor})
    _lower_identity(order)
    _set_limits(order)
    os.umask(0o022)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)


def _close_all_but(kept: set[int]) -> None:
    """The supervisor's pipes and the view's open folders are none of the payload's business."""
    try:
        opened = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        opened = list(range(3, 1024))
    for descriptor in opened:
        if descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    for descriptor in kept - {0, 1, 2, -1}:
        os.set_inheritable(descriptor, False)


def _prefer_when_memory_runs_out(score: str) -> None:
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(score)


def _lower_identity(order: Order) -> None:
    if order.uid is not None:
        if order.record_descriptor >= 0:
            os.fchown(order.record_descriptor, order.uid, order.uid)
        os.setgroups([])
        os.setgid(order.uid)
        os.setuid(order.uid)
    elif order.mode == "namespaces":
        # Whoever is root only in this namespace gets its own identity back, without any capability over the view.
        uid, gid = int(os.environ["OVID_OUTSIDE_UID"]), int(os.environ["OVID_OUTSIDE_GID"])
        linux.unshare(linux.CLONE_NEWUSER)
        linux.map_identity(uid, 0, gid, 0)
    if sys.platform == "linux" and order.mode != "none":
        linux.control(linux.PR_SET_NO_NEW_PRIVS, 1)
        if not order.command:
            # The submission has the master's identity; so it may end the master, but not look or write into it.
            linux.control(linux.PR_SET_DUMPABLE, 0)


def _set_limits(order: Order) -> None:
    wanted = {resource.RLIMIT_CORE: 0}
    if order.mode != "none":
        wanted[resource.RLIMIT_FSIZE] = order.limits.disk_bytes
        if order.uid_processes:
            wanted[resource.RLIMIT_NPROC] = order.uid_processes
    for what, value in wanted.items():
        _, hard = resource.getrlimit(what)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


def _run(order: Order) -> int:
    if order.command:
        try:
            os.execvpe(order.command[0], order.command, order.environment)
        except OSError as error:
            print(f"{order.command[0]}: {error.strerror}", file=sys.stderr)
            return 127
    # The master runs in this process and not in a new interpreter: it starts at once, and stays unreadable.
    sys.path.insert(0, os.path.dirname(order.master))
    sys.argv = [order.master, *order.arguments, "--record", f"/dev/fd/{order.record_descriptor}"]
    runpy.run_path(order.master, run_name="__main__")
    return 0
