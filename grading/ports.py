"""The ports that a script needs, and who holds them: of interest only where tests share the machine's network."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time

LINK_BASE_PORT = 3000
SERVERS_MAX = 64


def needed(script: str) -> list[int]:
    """The servers' and the masters' ports that a script's start lines name."""
    found = set()
    for start in re.finditer(r"^\s*(\d+)\s+start\s+(\d+)\s+(\d+)", script, re.MULTILINE):
        count, port = int(start[2]), int(start[3])
        found |= {LINK_BASE_PORT + number for number in range(min(count, SERVERS_MAX))}
        if 0 < port < 65536:
            found.add(port)
    return sorted(found)


def busy(ports: list[int]) -> list[int]:
    """Those that somebody listens on."""
    held = []
    for port in ports:
        with socket.socket() as probe:
            # As servers do it, so that connections of the past that still fade away do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                held.append(port)
    return held


def wait_until_free(ports: list[int], limit_seconds: float) -> list[int]:
    """Wait for ports to be given back; those that were not."""
    ends_at = time.monotonic() + limit_seconds
    held = busy(ports)
    while held and time.monotonic() < ends_at:
        time.sleep(0.05)
        held = busy(held)
    return held


def holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    inodes = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as lines:
            for line in lines:
                words = line.split()
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    for name in os.listdir("/proc") if inodes else []:
        if name.isdigit():
            with contextlib.suppress(OSError):
                for descriptor in os.listdir(f"/proc/{name}/fd"):
                    if os.readlink(f"/proc/{name}/fd/{descriptor}") in inodes:
                        with open(f"/proc/{name}/cmdline", "rb") as file:
                            command = file.read(200).replace(b"\0", b" ").decode("utf-8", "replace").strip()
                        return f"process group {os.getpgid(int(name))} (process {name}: {command})"
    return "a process of another user"
