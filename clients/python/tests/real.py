"""Real servers of the chat, as processes: of the program that OVID_BIN names."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import unittest
from typing import Any

SECRET = "what the tests' clusters share"

OVID_BIN = os.environ.get("OVID_BIN", "")

needs_servers = unittest.skipUnless(
    OVID_BIN, "set OVID_BIN to the servers' program, such as target/debug/ovid"
)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


class Servers:
    """A cluster, whose servers can be ended and started again."""

    def __init__(self, count: int = 3, tls: bool = False, **attributes: Any) -> None:  # noqa: ANN401 - of any kind
        self._folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self._folder.name)
        ports = free_ports(3 * count + 1)
        self._boxes = [f"127.0.0.1:{port}" for port in ports[:count]]
        self._controls = [f"127.0.0.1:{port}" for port in ports[count : 2 * count]]
        self.addresses = [f"127.0.0.1:{port}" for port in ports[2 * count : 3 * count]]
        # Of the leader, whoever that is.
        self.discovery = f"127.0.0.1:{ports[-1]}"
        names = [f"chat-{number}" for number in range(count)]
        # A cheap hash: the tests are not about passwords that were stolen.
        shared = {
            "log": {"members": names},
            "group_tag": "here",
            "secret": SECRET,
            "discovery": self.discovery,
            "password": {"memory_kib": 64, "passes": 1},
        }
        entries = {
            name: {
                "type": "messenger",
                "box": box,
                "attrs": {**shared, "clients": clients, "tls": tls, **attributes},
            }
            for name, box, clients in zip(names, self._boxes, self.addresses)
        }
        self.authority = folder / "tls" / "authority.pem"
        """Vouches for the servers, if they encrypt."""
        if tls:
            subprocess.run(
                [OVID_BIN, "cert", "--out", str(folder / "tls")], check=True, stdout=subprocess.DEVNULL
            )
            files = {name: f"tls/{name}.pem" for name in ("certificate", "key", "authority")}
            for name, box in zip(names, self._boxes):
                settings = {"tls": {**files, "links": True}}
                entries[f"box-{name}"] = {"type": "box", "box": box, "attrs": settings}
        self._file = folder / "chat.json"
        self._file.write_text(json.dumps(entries))
        self._data = folder / "data"
        self._logs = [folder / f"{name}.log" for name in names]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for number in range(count):
            self.start(number)

    def start(self, number: int) -> None:
        """Starts a server, with what it has stored."""
        command = [OVID_BIN, "grid", "run", str(self._file), self._boxes[number], "--data", str(self._data)]
        with self._logs[number].open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [*command, "--control", self._controls[number]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def number(self, address: object) -> int:
        """Which server this is the address of."""
        return self.addresses.index(str(address))

    def kill(self, number: int) -> None:
        """Ends a server at once."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def freeze(self, number: int, frozen: bool) -> None:
        """Lets a server do nothing, while its connections stand; or go on."""
        self._processes[number].send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def said(self) -> str:
        """The last words of each server."""
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in self._logs if log.exists())

    def close(self) -> None:
        """Ends all of them."""
        for number in list(self._processes):
            self.kill(number)
        self._folder.cleanup()
