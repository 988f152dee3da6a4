"""System calls of Linux that Python offers late (3.12) or never, by way of ctypes.

Nothing here decides anything: each function is one call that raises OSError with the name of what failed. Importing
this module on another system is harmless; calling it there raises.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

# The number is the same on every architecture that Linux gained the call on (5.12).
SYS_MOUNT_SETATTR = 442
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2

_OPTION_FLAGS = {"ro": MS_RDONLY, "nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC}
# Flags of access times, which a mount inherited by a user namespace must keep when it is remounted.
_ATIME_FLAGS = {"noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}

_library = ctypes.CDLL(None, use_errno=True)


def describe(error: OSError) -> str:
    """An error without its number, with the file that it is about."""
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _check(_library.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, bind or remount, as mount(2)."""
    result = _library.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        os.fsencode(data) or None,
    )
    _check(result, f"mount {kind or 'bind'} on {target}")


def control(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    zero = ctypes.c_ulong(0)
    _check(_library.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero), "prctl")


def set_host_name(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    _check(_library.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")


def make_everything_read_only() -> None:
    """Every mount of this namespace becomes read-only, and without set-user-id programs."""
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    result = _library.syscall(
        ctypes.c_long(SYS_MOUNT_SETATTR),
        ctypes.c_int(AT_FDCWD),
        b"/",
        ctypes.c_uint(AT_RECURSIVE),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )
    if result == 0:
        return
    # A kernel before 5.12: one mount after the other, keeping the flags that each already has.
    for path, options in _mounts():
        flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID
        for option in options:
            flags |= _OPTION_FLAGS.get(option, 0) | _ATIME_FLAGS.get(option, 0)
        mount("none", path, "", flags)


def _mounts() -> list[tuple[str, list[str]]]:
    """The mount points of this namespace with their options, later ones (which cover earlier ones) last."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            words = line.split()
            path = words[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
            if os.path.exists(path):
                found.append((path, words[5].split(",")))
    return found


def raise_loopback() -> None:
    """Bring up `lo`, which is down in a new network namespace."""
    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        (flags,) = struct.unpack_from("H", fcntl.ioctl(probe, get_flags, request), 16)
        fcntl.ioctl(probe, set_flags, struct.pack("16sH14s", b"lo", flags | up, b""))


def map_identity(inside_uid: int, outside_uid: int, inside_gid: int, outside_gid: int) -> None:
    """Say who this process is in the user namespace that it has just entered."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside_uid} {outside_uid} 1"),
        ("gid_map", f"{inside_gid} {outside_gid} 1"),
    ):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            # In a namespace inside another one setgroups is denied already.
            if name != "setgroups":
                raise OSError(error.errno, f"{name}: {error.strerror}") from error
