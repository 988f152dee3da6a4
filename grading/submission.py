"""The submission under test: found, copied to a private place, built once, and laid out afresh for each test.

The folder that was handed in is only read. With namespaces it appears in the sandbox under its own path; without
them it is copied to a folder whose neighbours are links to the real neighbours, so that relative paths still work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

import cgroups
import traces
from cases import UsageError
from isolation import Isolation
from order import MIB, Limits, Order
from sandbox import Finished, Sandboxes
from verdict import limit_text
from view import OUTPUT_FOLDER, RUN_FOLDER, TooLarge, copy_tree

WORK_PREFIX = "ovid-grader-"
LOCK = "lock"  # held as long as its grader lives, whatever process namespace that is in
SCRIPTS = ("build", "process", "stopall")
NEIGHBOURS_MAX = 500
# What a compiler or a runtime may need of the caller's environment. Nothing else goes in: tokens live there.
ENVIRONMENT = [
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "JAVA_HOME",
    "GOROOT",
    "DOTNET_ROOT",
    "RUSTUP_TOOLCHAIN",
    "NODE_PATH",
    "OVID_BIN",
    "OVID_SERVER_FLAGS",
    "RUST_LOG",
    "RUST_BACKTRACE",
]
# The usual places of secrets in a home folder, which nothing in a sandbox needs.
SECRETS = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".netrc",
    ".git-credentials",
    ".config",
    ".password-store",
]
CHECKOUT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BUILD_TAIL_CHARACTERS = 8000
BUILD_TAIL_LINES = 60
# In the output of a build that failed for want of a network.
NETWORK_WORDS = ("network", "resolve", "connect", "download", "fetch", "lookup", "unreachable", "offline")


class BuildFailed(Exception):
    """There is nothing to test; the text is for the student."""


@dataclass
class Submission:
    """One submission on this machine."""

    folder: str  # as it was handed in
    isolation: Isolation
    sandboxes: Sandboxes
    limits: Limits
    hidden: list[str]  # never seen by it: expected outputs, reports
    slots: int = 1
    kept_environment: list[str] = field(default_factory=list)
    work: str = ""
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = os.path.realpath(self.folder)
        _sweep()
        self.work = os.path.realpath(tempfile.mkdtemp(prefix=WORK_PREFIX))
        # Others may pass through, to what is theirs, but not look around.
        os.chmod(self.work, 0o711)
        self.lock = os.open(os.path.join(self.work, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.built = os.path.join(self.work, "built")

    def close(self) -> None:
        """Remove everything that was laid out."""
        remove_tree(self.work)
        os.close(self.lock)

    def build(self, limits: Limits, trusted: bool, network: bool) -> None:
        """Copy and build, or raise BuildFailed."""
        if trusted:
            self._check_scripts(self.folder)
            self._build_here(limits.seconds)
            self._copy(self.folder, self.built)
            return
        source = os.path.join(self.work, "source")
        self._copy(self.folder, source)
        self._check_scripts(source)
        order = self._order(source, limits)
        order.network = network
        order.command = [os.path.join(order.folder, "build")]
        order.keep = self.built if self.isolation.mode == "namespaces" else None
        finished = self._run(order)
        problem = self._build_problem(finished, limits, network)
        if problem is not None:
            raise BuildFailed(problem)
        if self.isolation.mode != "namespaces":
            copy_tree(order.folder, self.built, self.isolation.uid, [])
        remove_tree(source)

    def run(
        self, limits: Limits, arguments: list[str], script: str, traces_to: str | None = None
    ) -> Finished:
        """One script against a fresh copy of what was built; with `traces_to`, the servers' traces go there."""
        order = self._order(self.built, limits)
        if traces_to is not None:
            order.traces = traces_to
            order.environment[traces.VARIABLE] = os.path.join(order.environment["TMPDIR"], traces.FOLDER)
        order.master = os.path.join(self._master_folder(), "master.py")
        order.script = script
        output = os.path.join(order.private, "output") if order.private else OUTPUT_FOLDER
        order.arguments = ["-", "--directory", order.folder, "--server-output", output, *arguments]
        return self._run(order)

    def _master_folder(self) -> str:
        """The master's code, where the submission's identity can read it."""
        own = os.path.join(CHECKOUT, "master")
        if self.isolation.mode == "namespaces" or self.isolation.uid is None:
            return own
        copy = os.path.join(self.work, "master")
        if not os.path.isdir(copy):
            copy_tree(own, copy, None, [])
            os.chmod(copy, 0o755)
        return copy

    def _run(self, order: Order) -> Finished:
        parents = self.isolation.cgroup_parents
        order.cgroups = cgroups.create(parents, f"{cgroups.PREFIX}{os.getpid()}-{id(order)}", order.limits)
        try:
            finished = self.sandboxes.run(order)
        finally:
            cgroups.remove(order.cgroups)
        return finished

    def _copy(self, source: str, target: str) -> None:
        try:
            left_out = [path for path in self.hidden if os.path.realpath(path) != source]
            copy_tree(source, target, self.isolation.uid, left_out, self.limits.disk_bytes)
        except TooLarge as error:
            raise BuildFailed(
                f"{self.folder}: {error}; a submission may have {self.limits.disk_bytes // MIB} MiB "
                "(--disk-limit-mib). Remove what a build makes anew."
            ) from error
        except OSError as error:
            raise BuildFailed(f"the submission cannot be read: {error}") from error

    def _check_scripts(self, copy: str) -> None:
        """The three scripts are there; looked at where they were handed in, since a link may lead to a neighbour."""
        for name in SCRIPTS:
            path = os.path.join(self.folder, name)
            if not os.path.isfile(path):
                raise BuildFailed(f"{name}: missing; a submission has executables named {', '.join(SCRIPTS)}")
            mode = os.stat(path).st_mode
            if not mode & stat.S_IXUSR:
                if copy == self.folder or os.path.islink(path):
                    raise BuildFailed(f"{path}: not executable (chmod +x {name})")
                # Archives and uploads lose the bit, and it teaches nothing about servers.
                os.chmod(os.path.join(copy, name), 0o755)
                self.notes.append(f"{name} was not executable; it was made so (chmod +x {name})")
            with open(path, "rb") as file:
                first = file.readline(300)
            if first.startswith(b"#!") and first.endswith(b"\r\n"):
                raise BuildFailed(
                    f"{name}: its first line ends in a carriage return (Windows line ends); save it with LF"
                )

    def _build_here(self, limit_seconds: float) -> None:
        """The checkout's own servers: built as the caller would, with the caller's tools and caches."""
        process = subprocess.Popen(
            [os.path.join(self.folder, "build")],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            raise BuildFailed(f"build: it took longer than {limit_seconds:g} s (--build-limit)") from None
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode != 0:
            text = output.decode("utf-8", "replace")[-BUILD_TAIL_CHARACTERS:]
            raise BuildFailed(f"build: exit status {process.returncode}\n{text}")

    def _build_problem(self, finished: Finished, limits: Limits, network: bool) -> str | None:
        outcome = finished.outcome
        output = (finished.stdout + finished.stderr).decode("utf-8", "replace")[-BUILD_TAIL_CHARACTERS:]
        output = "\n".join(output.splitlines()[-BUILD_TAIL_LINES:])
        if outcome.error is not None:
            return f"build: the sandbox failed: {outcome.error}\n{output}"
        if outcome.limit is not None:
            text = limit_text(outcome.limit, limits).replace("(--limit)", "(--build-limit)")
            return f"build: {text}\n{output}"
        if outcome.interrupted:
            return "build: interrupted"
        if outcome.status != 0:
            is_cut_off = self.isolation.mode == "namespaces" and not network
            asked_for_it = is_cut_off and any(word in output.lower() for word in NETWORK_WORDS)
            hint = "\n(The build had no network; --build-network gives it one.)" if asked_for_it else ""
            return f"build: exit status {outcome.status}\n{output.rstrip()}{hint}"
        return None

    def _order(self, tree: str, limits: Limits) -> Order:
        """What all sandboxes of this submission have in common."""
        order = Order(self.isolation.mode, self.folder, tree, limits, {}, uid=self.isolation.uid)
        order.python = self.isolation.python
        if self.isolation.mode == "namespaces":
            order.hidden = self._hidden()
            order.needed = [sys.prefix, sys.base_prefix, os.path.join(CHECKOUT, "master")]
            if self.folder.startswith(CHECKOUT + os.sep):
                order.needed.insert(0, CHECKOUT)
            resolver = os.path.realpath("/etc/resolv.conf")
            order.needed += [resolver] if resolver.startswith("/run/") else []
            order.environment = self._environment("/tmp/home", RUN_FOLDER, "/tmp")
        else:
            self._lay_out(order, tree)
        # A control group counts exactly; the limit of an identity is second best.
        if self.isolation.mode != "none" and not self.isolation.cgroup_parents:
            others = limits.processes * (self.slots - 1) if self.isolation.mode == "namespaces" else 0
            order.uid_processes = limits.processes + others + _threads_of_identity(self.isolation.uid)
        return order

    def _hidden(self) -> list[str]:
        home = os.path.expanduser("~")
        secrets = [os.path.join(home, name) for name in SECRETS]
        return [*self.hidden, self.work, *secrets]

    def _lay_out(self, order: Order, tree: str) -> None:
        """Without namespaces: a folder of the test's own, with the submission among its neighbours."""
        private = os.path.join(self.work, "test")
        remove_tree(private)
        place = os.path.join(private, "place")
        os.makedirs(place)
        for folder in (private, place):
            os.chmod(folder, 0o755)
        name = os.path.basename(self.folder)
        parent = os.path.dirname(self.folder)
        hidden = {os.path.realpath(path) for path in self.hidden}
        neighbours = sorted(os.listdir(parent)) if os.access(parent, os.R_OK) else []
        for neighbour in neighbours[:NEIGHBOURS_MAX]:
            real = os.path.realpath(os.path.join(parent, neighbour))
            if neighbour != name and real not in hidden:
                os.symlink(real, os.path.join(place, neighbour))
        order.folder = os.path.join(place, name)
        copy_tree(tree, order.folder, self.isolation.uid, [])
        own = [os.path.join(private, folder) for folder in ("output", "home", "run", "tmp")]
        for folder in own:
            os.mkdir(folder)
            if self.isolation.uid is not None:
                os.chown(folder, self.isolation.uid, self.isolation.uid)
        order.private = private
        order.environment = self._environment(*own[1:])

    def _environment(self, home: str, run: str, temporary: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in ENVIRONMENT or name in self.kept_environment or name.startswith("LC_")
        }
        path = kept.get("PATH", os.defpath).split(os.pathsep)
        # Wherever this Python is, a submission written in Python finds one.
        kept["PATH"] = os.pathsep.join([*path, os.path.dirname(self.isolation.python)])
        toolchains = os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup"))
        if os.path.isdir(toolchains):
            kept["RUSTUP_HOME"] = toolchains
        return {
            **kept,
            "HOME": home,
            "TMPDIR": temporary,
            "OVID_RUN_DIR": run,
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def _threads_of_identity(uid: int | None) -> int:
    """What the identity that the submission will have runs already, outside of any sandbox."""
    if uid is not None or sys.platform != "linux":
        return 0 if uid is not None else 400
    import census

    own = os.getuid()
    return sum(process.threads for process in census.processes() if process.uid == own) + 50


def _sweep() -> None:
    """Remove what graders left that were killed before they could."""
    folder = tempfile.gettempdir()
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(WORK_PREFIX) and not os.path.islink(path) and os.stat(path).st_uid == os.geteuid():
            with contextlib.suppress(OSError):
                lock = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_tree(path)
                finally:
                    os.close(lock)


def remove_tree(path: str) -> None:
    """Remove a tree that a submission had its hands on: of any depth, with any permissions."""
    if not os.path.lexists(path):
        return
    with contextlib.suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        # Too deep for Python's recursion, or folders that deny themselves to their owner.
        for command in (["chmod", "-R", "u+rwx", path], ["rm", "-rf", path]):
            with contextlib.suppress(OSError):
                subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def find_submission(folder: str) -> str:
    """The folder with the three scripts: the one given, or the only one in it, as archives often have it."""
    if not os.path.isdir(folder):
        raise UsageError(
            f"{folder}: no such folder (--submission wants the one with build, process and stopall)"
        )
    if not os.path.exists(os.path.join(folder, "process")):
        inner = [
            entry.path
            for entry in os.scandir(folder)
            if entry.is_dir() and not entry.name.startswith((".", "__"))
        ]
        if len(inner) == 1 and os.path.exists(os.path.join(inner[0], "process")):
            return inner[0]
    return folder
