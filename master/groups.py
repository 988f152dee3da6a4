"""Recorded process groups: what this checkout started, so that exactly that can be ended later.

A record is a small file `<kind>-<pgid>` in the run directory. It outlives the process that wrote it, so a
crash of the master loses nothing; but process ids are used again, so before every signal a record is compared
with what really runs.

A server is ended as a group where it has one of its own. A master and a grader are ended as one process,
since their group may be that of the shell script that called them; they end what they started themselves, and
the servers have records of their own.

Runnable: `groups.py list`, `groups.py stop [--kind KIND ...] [--dry-run]`, `groups.py record KIND PGID
COMMAND...`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SERVER = "server"
KINDS = (SERVER, "master", "grader")
UNKNOWN = "-"
# A record from another process namespace cannot be judged from here. It is left alone for so long and then dropped.
FOREIGN_RECORD_SECONDS = 24 * 3600
POLL_SECONDS = 0.005

# The directories about which the one warning was given.
_warned: set[Path] = set()


@dataclass(frozen=True)
class Record:
    """A server's process group, or a master's or grader's process, and what identifies it beyond its number."""

    kind: str
    pgid: int
    start: str
    boot: str
    namespace: str
    command: str
    path: Path


def run_directory() -> Path:
    """Where the records stand: `$OVID_RUN_DIR`, or `.run` in the checkout that holds this file."""
    chosen = os.environ.get("OVID_RUN_DIR")
    return Path(chosen).absolute() if chosen else Path(__file__).resolve().parent.parent / ".run"


def record(kind: str, pgid: int, command: str) -> Record | None:
    """Writes down what this checkout has started; None when that could not be written, after one warning.

    `pgid` is a process group for a server, and a process id for a master or grader.
    """
    directory = run_directory()
    made = Record(
        kind, pgid, start_of(pgid), boot_id(), namespace_id(), one_line(command), directory / f"{kind}-{pgid}"
    )
    lines = "".join(
        f"{key} {getattr(made, key)}\n" for key in ("pgid", "start", "boot", "namespace", "kind", "command")
    )
    draft = directory / f".{kind}-{pgid}.{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        draft.write_text(lines, encoding="utf-8", errors="surrogateescape")
        draft.replace(made.path)  # In one step: a reader never sees half a record.
    except OSError as error:
        if directory not in _warned:
            print(f"groups: cannot record process groups in {directory}: {error.strerror}", file=sys.stderr)
            _warned.add(directory)
        return None
    return made


def forget(made: Record | None) -> None:
    """Removes the record of a group that has ended."""
    if made is not None:
        # Someone else may have tidied up first, or the directory is read-only.
        with contextlib.suppress(OSError):
            made.path.unlink()


def live_records(kinds: list[str] | None = None) -> list[Record]:
    """The recorded groups that still run. Stale records are removed on the way."""
    live = []
    try:
        paths = sorted(run_directory().iterdir())
    except OSError:
        return []
    for path in paths:
        kind = path.name.partition("-")[0]
        if kind not in KINDS or (kinds is not None and kind not in kinds):
            continue
        found = read_record(path)
        if found is not None and is_live(found):
            live.append(found)
        elif found is None or not (found.boot == boot_id() and is_foreign(found) and is_recent(path)):
            forget(Record(kind, 0, "", "", "", "", path))
    return live


def stop(found: Record, limit_seconds: float = 2.0) -> bool:
    """Ends the group: TERM, then KILL after half of the limit. True when nothing of it is left."""
    deadline = time.monotonic() + limit_seconds
    for number, until in ((signal.SIGTERM, deadline - limit_seconds / 2), (signal.SIGKILL, deadline)):
        # Checked before each signal: the group may have ended meanwhile, and its number may be another's by now.
        if not is_live(found):
            break
        send = os.killpg if is_group(found) else os.kill
        try:
            send(found.pgid, number)
            if number == signal.SIGTERM:
                send(found.pgid, signal.SIGCONT)  # A stopped process would never see the TERM.
        except OSError:
            pass
        while is_live(found) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
    ended = not is_live(found)
    if ended:
        forget(found)
    return ended


def read_record(path: Path) -> Record | None:
    """The record in the file, or None where it is no record."""
    fields: dict[str, str] = {}
    try:
        for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            key, _, value = line.partition(" ")
            fields.setdefault(key, value)
        return Record(
            fields["kind"],
            int(fields["pgid"]),
            fields["start"],
            fields.get("boot", UNKNOWN),
            fields.get("namespace", UNKNOWN),
            fields.get("command", ""),
            path,
        )
    except (OSError, KeyError, ValueError):
        return None


def is_live(found: Record) -> bool:
    """Whether what was recorded still runs, and is the very one that was recorded."""
    if found.pgid <= 1 or found.boot != boot_id() or is_foreign(found):
        return False
    members = members_of(found)
    if not members:
        return False
    start = start_of(found.pgid)
    if start != UNKNOWN:
        # Where the namespace was not recorded, the number and the start time alone must not decide.
        judged = found.namespace != UNKNOWN or namespace_id() == UNKNOWN
        return found.start == start and (judged or any(carries_mark(pid, found) for pid in members))
    # The leader is gone. Its number stays taken while the group lives, but an older group may have had the same.
    return any(carries_mark(pid, found) for pid in members)


def is_foreign(found: Record) -> bool:
    return found.namespace not in (UNKNOWN, namespace_id())


def is_recent(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < FOREIGN_RECORD_SECONDS
    except OSError:
        return False


def carries_mark(pid: int, found: Record) -> bool:
    """Whether the process was started with our run directory in its environment."""
    mark = b"OVID_RUN=" + os.fsencode(found.path.parent)
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def members_of(found: Record) -> list[int]:
    """The living processes of the record; one that has ended and only waits to be reaped is none."""
    if is_group(found):
        return members_of_group(found.pgid)
    return [] if process_state(found.pgid) in ("", "Z", "X") else [found.pgid]


def is_group(found: Record) -> bool:
    """Whether the record stands for a whole group. A server that was started without one of its own is one process."""
    try:
        return found.kind == SERVER and os.getpgid(found.pgid) == found.pgid
    except OSError:
        return True  # The leader is gone, but others of the group may live.


def members_of_group(pgid: int) -> list[int]:
    """The living processes of a process group."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return []
    except OSError:
        pass  # Not permitted for some member: look closer.
    if not has_proc():
        rows = [line.split() for line in ps("-axo", "pid=,pgid=,stat=").splitlines()]
        return [int(row[0]) for row in rows if len(row) > 2 and row[1] == str(pgid) and row[2][0] != "Z"]
    members = []
    for name in os.listdir("/proc"):
        fields = stat_fields(int(name)) if name.isdigit() else []
        if len(fields) > 2 and fields[2] == str(pgid) and fields[0] not in ("Z", "X"):
            members.append(int(name))
    return members


def process_state(pid: int) -> str:
    """The letter of the process's state; empty when there is no such process."""
    return (stat_fields(pid) or [""])[0] if has_proc() else ps("-o", "stat=", "-p", str(pid)).strip()[:1]


def start_of(pid: int) -> str:
    """When the process started, in the system's own terms; `-` when there is no such process."""
    if has_proc():
        fields = stat_fields(pid)
        return fields[19] if len(fields) > 19 else UNKNOWN
    return one_line(ps("-o", "lstart=", "-p", str(pid))) or UNKNOWN


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third (the state) on; empty when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The second field is the command in brackets, and the command may hold brackets and blanks itself.
    return text.rpartition(")")[2].split()


def has_proc() -> bool:
    return os.path.exists("/proc/self/stat")


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return UNKNOWN


def namespace_id() -> str:
    """The process namespace, since a process id means something in one namespace only."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return UNKNOWN


def ps(*arguments: str) -> str:
    try:
        return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def one_line(text: str) -> str:
    return " ".join(text.split())


def stop_all(kinds: list[str], dry_run: bool) -> int:
    """Ends every recorded group of the kinds and prints one line each; the exit status."""
    own_group = os.getpgrp()
    status = 0
    # Graders first, then masters: each would otherwise report the end of what it started as a failure.
    found = sorted(live_records(kinds), key=lambda each: KINDS.index(each.kind), reverse=True)
    for each in found:
        name = f"{each.kind} {each.pgid}: {each.command}"
        if each.pgid == own_group:
            print(f"left alone {name} (it runs this command)", flush=True)
        elif dry_run:
            print(f"would end {name}", flush=True)
        elif stop(each):
            print(f"ended {name}", flush=True)
        elif is_live(each):
            print(f"could not end {name}", flush=True)
            status = 1
    return status


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="groups.py", description="Recorded process groups of this checkout."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("list", "show the groups that run"), ("stop", "end the groups that run")):
        one = commands.add_parser(name, help=text)
        one.add_argument("--kind", action="append", choices=KINDS, help="only this kind; may be repeated")
        if name == "stop":
            one.add_argument("--dry-run", action="store_true", help="only say what would be ended")
    one = commands.add_parser("record", help="write a record")
    one.add_argument("kind", choices=KINDS)
    one.add_argument("pgid", type=int)
    one.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args(words)
    if options.command == "record":
        return 0 if record(options.kind, options.pgid, " ".join(options.words)) else 1
    kinds = options.kind or list(KINDS)
    if options.command == "stop":
        return stop_all(kinds, options.dry_run)
    for each in live_records(kinds):
        print(f"{each.kind} {each.pgid}: {each.command}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
