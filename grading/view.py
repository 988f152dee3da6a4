"""What a submission sees of the file system inside its own mount namespace.

The machine's files are there, read-only, because a submission may need any compiler or runtime. Its own folder is
writable: an overlay whose changes vanish, or a copy where there are no overlays. Expected outputs, the grader, the
reports and the usual places of secrets look empty. /tmp, /dev, /run and /proc are private. Everything writable is one
file system in memory of a limited size.
"""

from __future__ import annotations

import os
import stat

import linux
from order import Order

SCRATCH = "/tmp"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Where tests' outputs of the servers go; its parent is seen by nobody but the submission's own identity.
OUTPUT_FOLDER = "/run/ovid-output"
RUN_FOLDER = "/run/ovid"


class View:
    """Builds the view, step by step, in a mount namespace that this process has just entered."""

    def __init__(self, order: Order) -> None:
        """Opens what has to be bound later, before anything is covered."""
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        self.order = order
        self.covers: set[int] = set()
        self.cover_paths: list[str] = []
        self.needed: list[tuple[str, int]] = []
        for path in order.needed:
            if os.path.exists(path):
                self.needed.append((path, self._open(path)))
        self.tree = self._open(order.tree)
        self.devices = [
            (name, self._open(f"/dev/{name}")) for name in DEVICES if os.path.exists(f"/dev/{name}")
        ]
        system = "/run/current-system"
        self.system = self._open(system) if os.path.exists(system) else None

    def build(self) -> None:
        """All steps. The order matters: what is covered can afterwards be reached by its open descriptor only."""
        linux.make_everything_read_only()
        merged = self._scratch()
        # Twice, because a folder that is hidden may hold a needed one, and a needed one may hold a hidden one.
        for _ in range(2):
            for path, descriptor in self.needed:
                self._show(path, descriptor)
            for path in self.order.hidden:
                self._hide(path)
        self._show(self.order.folder, merged)
        for path in self.cover_paths:
            linux.mount("none", path, "", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)

    def _scratch(self) -> int:
        """The writable file system; a descriptor of the submission's folder on it."""
        limits = self.order.limits
        options = f"size={limits.disk_bytes},nr_inodes=200000,mode=755"
        linux.mount("ovid", SCRATCH, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
        for name, mode, own in (
            ("upper", 0o755, True),
            ("work", 0o755, False),
            ("merged", 0o755, True),
            ("tmp", 0o1777, False),
            ("shm", 0o1777, False),
            ("run", 0o755, False),
            ("run/ovid", 0o700, True),
            ("run/ovid-output", 0o700, True),
            ("home", 0o700, True),
            ("dev", 0o755, False),
        ):
            path = f"{SCRATCH}/{name}"
            os.mkdir(path)
            os.chmod(path, mode)
            if own and self.order.uid is not None:
                os.chown(path, self.order.uid, self.order.uid)
        merged = self._merge()
        binds = [
            (self._open(f"{SCRATCH}/{name}"), path) for name, path in (("shm", "/dev/shm"), ("run", "/run"))
        ]
        os.mkdir(f"{SCRATCH}/tmp/home")
        home = self._open(f"{SCRATCH}/home")
        temporary = self._open(f"{SCRATCH}/tmp")
        self._devices()
        for descriptor, path in [*binds, (temporary, "/var/tmp"), (temporary, SCRATCH)]:
            if os.path.isdir(path) and not os.path.islink(path):
                self._bind(descriptor, path)
        self._bind(home, f"{SCRATCH}/home")
        if self.system is not None:
            self._show("/run/current-system", self.system)
        return merged

    def _merge(self) -> int:
        """The submission's folder with its changes kept apart."""
        target = f"{SCRATCH}/merged"
        lower = f"/proc/self/fd/{self.tree}"
        options = f"lowerdir={lower},upperdir={SCRATCH}/upper,workdir={SCRATCH}/work"
        for extra in (",userxattr", ""):
            try:
                linux.mount("overlay", target, "overlay", linux.MS_NOSUID | linux.MS_NODEV, options + extra)
                return self._open(target)
            except OSError:
                continue
        copy_tree(lower + "/", target, self.order.uid, [])
        return self._open(target)

    def _devices(self) -> None:
        """A /dev with the harmless devices alone: no terminals of the machine's users, no disks."""
        private = f"{SCRATCH}/dev"
        for name, descriptor in self.devices:
            with open(f"{private}/{name}", "w", encoding="ascii"):
                pass
            self._bind(descriptor, f"{private}/{name}")
        os.mkdir(f"{private}/shm")
        linux.mount(f"{SCRATCH}/shm", f"{private}/shm", "", linux.MS_BIND)
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            os.symlink(f"/proc/self/fd{target}", f"{private}/{name}")
        linux.mount(private, "/dev", "", linux.MS_BIND | linux.MS_REC)

    def _show(self, path: str, descriptor: int) -> None:
        """Make `path` lead to what was opened, for the submission's identity too."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts)):
            self._open_way("/" + "/".join(parts[:depth]))
        wanted = os.fstat(descriptor)
        if not os.path.lexists(path):
            if stat.S_ISDIR(wanted.st_mode):
                os.mkdir(path)
            else:
                with open(path, "w", encoding="ascii"):
                    pass
        if not os.path.samestat(os.stat(path), wanted):
            self._bind(descriptor, path)

    def _open_way(self, path: str) -> None:
        """A folder above a needed one exists and lets the submission's identity pass."""
        if not os.path.exists(path):
            os.mkdir(path)
            os.chmod(path, 0o755)
            return
        found = os.stat(path)
        uid = self.order.uid
        if uid is None or found.st_mode & stat.S_IXOTH or found.st_uid == uid:
            return
        self._cover(path)

    def _hide(self, path: str) -> None:
        """`path` looks empty."""
        try:
            found = os.stat(path)
        except OSError:
            return
        if found.st_dev in self.covers:
            return
        if stat.S_ISDIR(found.st_mode):
            self._cover(path)
        else:
            linux.mount("/dev/null", path, "", linux.MS_BIND)

    def _cover(self, path: str) -> None:
        linux.mount("ovid", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,nr_inodes=500,mode=755")
        self.covers.add(os.stat(path).st_dev)
        self.cover_paths.append(path)

    @staticmethod
    def _open(path: str) -> int:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)

    @staticmethod
    def _bind(descriptor: int, path: str) -> None:
        linux.mount(f"/proc/self/fd/{descriptor}", path, "", linux.MS_BIND | linux.MS_REC)


class TooLarge(Exception):
    """A tree has more bytes, or more files, than may be copied."""


def copy_tree(
    source: str,
    target: str,
    uid: int | None,
    left_out: list[str],
    bytes_max: int | None = None,
    files_max: int = 500_000,
) -> None:
    """Copy a submission: symbolic links stay links, times stay (make relies on them), devices and sockets are left out.

    `target` may exist. With `uid` everything belongs to that identity afterwards.
    """
    os.makedirs(target, exist_ok=True)
    budget = [bytes_max if bytes_max is not None else -1, files_max]
    skipped = {os.path.realpath(path) for path in left_out}
    _copy_folder(source, target, uid, skipped, budget)


def _copy_folder(source: str, target: str, uid: int | None, skipped: set[str], budget: list[int]) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            if skipped and os.path.realpath(entry.path) in skipped and not entry.is_symlink():
                continue
            goal = os.path.join(target, entry.name)
            budget[1] -= 1
            if budget[1] < 0:
                raise TooLarge("too many files")
            if entry.is_symlink():
                if os.path.lexists(goal):
                    os.unlink(goal)
                os.symlink(os.readlink(entry.path), goal)
                if uid is not None:
                    os.lchown(goal, uid, uid)
            elif entry.is_dir():
                os.makedirs(goal, exist_ok=True)
                _copy_folder(entry.path, goal, uid, skipped, budget)
            elif entry.is_file():
                import shutil  # only here: a sandbox that copies nothing starts the sooner without it

                _spend(budget, entry.stat(follow_symlinks=False).st_size)
                shutil.copyfile(entry.path, goal)
                _copy_facts(entry.path, goal, uid)
    _copy_facts(source, target, uid)


def _spend(budget: list[int], size: int) -> None:
    if budget[0] >= 0:
        budget[0] -= size
        if budget[0] < 0:
            raise TooLarge("too many bytes")


def _copy_facts(source: str, goal: str, uid: int | None) -> None:
    found = os.stat(source)
    if uid is not None:
        os.chown(goal, uid, uid)
    # No set-user-id bit survives, and the owner can always work with what is its own.
    owner = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
    os.chmod(goal, stat.S_IMODE(found.st_mode) & 0o777 | owner)
    os.utime(goal, ns=(found.st_atime_ns, found.st_mtime_ns))
