#!/usr/bin/env python3
"""Servers of an overlay on addresses of their own: a cable is pulled, a network is cut in two, and both heal.

Each server lives in a network namespace, with one end of a virtual cable (veth) whose other end is a port of a
bridge. All of it lives in namespaces that this program makes for itself: nothing can be seen from outside, ports
and addresses of the machine do not matter, and when the program ends, however it ends, the kernel takes
everything away, the servers included.

    cargo build --release && python3 tests/netns/overlay.py

Needs Linux, `ip` (Debian: iproute2), `unshare` and `mount` (util-linux), and the right to make namespaces: root
has it, other users on most systems.

Exit status: 0 all is well, 1 something was not as it should be, 2 wrong arguments, 3 no namespaces for us here.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Callable

CHECKOUT = Path(__file__).resolve().parent.parent.parent
STATUS_FAILED, STATUS_WRONG_ARGUMENTS, STATUS_IMPOSSIBLE = 1, 2, 3
NETWORK = "10.77.0."
FIRST_HOST = 10
LINK_BASE = 3000
MASTER_PORT = 10000
# Small and quick: three neighbours each, so that nobody is linked to everybody, and every period a fifth of the usual.
KEEP_ALIVE_MS = 200
OPTIONS = [
    *("--active-size", "3", "--k-active", "2", "--keep-alive-ms", str(KEEP_ALIVE_MS)),
    *("--shuffle-period-ms", "2000", "--probe-period-ms", "1000", "--timeout-ms", "2000"),
]
ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.02
# Of many servers so many are known soon, and by chance some on each side of a cut are among them.
KNOWN_ENOUGH = 15


class Failed(Exception):
    """Something was not as it should be."""


class Network:
    """Bridges, and a cable from one of them to each server."""

    def __init__(self, count: int) -> None:
        for bridge in ("whole", "half"):
            ip("link", "add", bridge, "type", "bridge")
            ip("link", "set", bridge, "up")
        for number in range(count):
            name = f"server{number}"
            ip("netns", "add", name)
            ip("link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", name, "address", "add", f"{host(number)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
            self.attach([number], "whole")
            self.plug(number)

    def attach(self, numbers: Iterable[int], bridge: str) -> None:
        """Moves the cables of these servers to a bridge."""
        for number in numbers:
            ip("link", "set", f"port{number}", "master", bridge)

    def pull(self, number: int) -> None:
        """Pulls a cable: at the server's end nothing but the light goes out."""
        ip("link", "set", f"port{number}", "down")

    def plug(self, number: int) -> None:
        ip("link", "set", f"port{number}", "up")


class Server:
    """A server in its namespace. Its standard input is its master, which no pulled cable can cut off."""

    def __init__(self, binary: Path, number: int, count: int, folder: Path) -> None:
        self.number, self.address = number, f"{host(number)}:{LINK_BASE + number}"
        self.log = folder / f"server{number}.err"
        words = ["ip", "netns", "exec", f"server{number}", str(binary), "server"]
        words += [str(number), str(count), str(MASTER_PORT), "--bind", host(number), "--stdin", "-v"]
        words += ["--link-base", str(LINK_BASE), "--overlay", "--join", f"{host(0)}:{LINK_BASE}", *OPTIONS]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
            )
        self._answers: queue.Queue[str] = queue.Queue()
        self._news: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.ask("watch")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = line.rstrip("\n")
            if words.startswith(("link_up ", "link_down ", "message ")):
                self._news.append(words)
            else:
                self._answers.put(words)

    def send(self, command: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Failed(f"server {self.number} takes no command: {error}; {self.last_words()}") from error

    def ask(self, command: str) -> str:
        self.send(command)
        try:
            return self._answers.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise Failed(f"server {self.number} does not answer `{command}`; {self.last_words()}") from None

    def alive(self) -> set[int]:
        _, _, ids = self.ask("alive").partition(" ")
        return {int(each) for each in ids.split(",") if each}

    def peers(self) -> set[str]:
        _, _, peers = self.ask("peers").partition(" ")
        return {each for each in peers.split(",") if each}

    def known(self) -> int:
        """How many others it knows by name, its neighbours among them."""
        status = json.loads(self.ask("status"))
        return len(status["active"]) + int(status["passive"])

    def messages(self) -> list[str]:
        _, _, messages = self.ask("get").partition(" ")
        return messages.split(",") if messages else []

    def forget_news(self) -> None:
        self._news.clear()

    def has_said(self, news: str) -> bool:
        """Whether it has told this since it was last made to forget."""
        return news in self._news

    def news_of(self, peer: str) -> list[str]:
        return [each for each in self._news if f" {peer}" in each]

    def last_words(self) -> str:
        return "its log ends in:\n" + "".join(self.log.read_text(errors="replace").splitlines(True)[-15:])


class Story:
    """What happens to the servers, one thing after the other, and how long each took."""

    def __init__(self, servers: list[Server], network: Network) -> None:
        self.servers, self.network = servers, network
        self.all = {server.number for server in servers}
        self._begun = time.monotonic()
        self._told = 0

    def tell(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:6.1f} s  {text}", flush=True)

    def wait(self, what: str, limit_seconds: float, missing: Callable[[], str]) -> float:
        """Waits until nothing is missing; how long that took."""
        begun = time.monotonic()
        while True:
            lacking = missing()
            took = time.monotonic() - begun
            if not lacking:
                self.tell(f"{what} ({took:.1f} s)")
                return took
            if took > limit_seconds:
                raise Failed(f"not within {limit_seconds:g} s: {what}; {lacking}")
            time.sleep(POLL_SECONDS)

    def wait_alive(self, numbers: set[int], limit_seconds: float, what: str) -> None:
        """Waits until each of these servers takes exactly these for alive."""

        def missing() -> str:
            for server in self.among(numbers):
                seen = server.alive()
                if seen != numbers:
                    return f"server {server.number} says alive {seen} instead of {numbers}"
            return ""

        self.wait(what, limit_seconds, missing)

    def broadcast(self, sender: int, numbers: set[int]) -> str:
        """Has one server broadcast, and waits until each of these has it."""
        self._told += 1
        text = f"number {self._told} of {sender}"
        self.servers[sender].send(f"broadcast {text}")
        self.wait_message(text, numbers, f"a broadcast of server {sender} has reached {sorted(numbers)}")
        return text

    def wait_message(self, text: str, numbers: set[int], what: str) -> None:
        """Waits until each of these servers has the message, once."""

        def missing() -> str:
            counts = {server.number: server.messages().count(text) for server in self.among(numbers)}
            wrong = {number: count for number, count in counts.items() if count != 1}
            return f"servers that have it another number of times than once: {wrong}" if wrong else ""

        self.wait(what, 10, missing)

    def among(self, numbers: set[int]) -> list[Server]:
        return [self.servers[number] for number in sorted(numbers)]

    def is_one(self, numbers: set[int]) -> str:
        """What keeps the links between these servers, each known at both ends, from connecting them all."""
        peers = {server.address: server.peers() for server in self.among(numbers)}
        reached: set[str] = set()
        waiting = [self.servers[min(numbers)].address]
        while waiting:
            address = waiting.pop()
            if address not in reached:
                reached.add(address)
                waiting += [peer for peer in peers[address] if address in peers.get(peer, set())]
        return "" if reached == set(peers) else f"only {sorted(reached)} are connected"

    def run(self) -> None:
        count = len(self.all)
        self.wait_alive(self.all, 30, f"all {count} servers see each other, having joined through one")
        self.broadcast(1, self.all)
        self.pull_a_cable(count - 1)
        self.wait_known(min(count - 2, KNOWN_ENOUGH))
        self.cut_in_two()

    def wait_known(self, enough: int) -> None:
        """Waits until each server has heard of so many others.

        Who knows all but one finds the others on its side of a cut. A server that has just come back, and has not
        shuffled yet, could be alone there, since nobody would know its address.
        """

        def missing() -> str:
            known = {server.number: server.known() for server in self.servers}
            few = {number: count for number, count in known.items() if count < enough}
            return f"servers that know fewer: {few}" if few else ""

        self.wait(f"all know at least {enough} others by name", 60, missing)

    def pull_a_cable(self, victim: int) -> None:
        server, others = self.servers[victim], self.all - {victim}
        for each in self.servers:
            each.forget_news()
        neighbours = [each for each in self.among(others) if server.address in each.peers()]
        self.network.pull(victim)
        self.tell(
            f"the cable of server {victim} is pulled; its neighbours are {[n.number for n in neighbours]}"
        )

        def missing() -> str:
            for one, other in [(each, server) for each in neighbours] + [
                (server, each) for each in neighbours
            ]:
                if not one.has_said(f"link_down {other.address} silent"):
                    return f"server {one.number} has said of {other.address}: {one.news_of(other.address)}"
            return ""

        self.wait("both ends of each of its links say `link_down <peer> silent`", 10, missing)
        self.wait_alive(others, 60, f"the others take all but server {victim} for alive")
        self.wait_alive({victim}, 60, "it takes nobody else for alive")
        meanwhile = self.broadcast(0, others)
        if len(server.messages()) != 1:
            raise Failed(f"server {victim} has {server.messages()}, though its cable is pulled")
        self.network.plug(victim)
        self.tell(f"the cable of server {victim} is back")
        self.wait("it has a neighbour again", 30, lambda: "" if server.peers() else "it has no neighbour")
        self.wait_alive(self.all, 60, "all see all again")
        self.wait_message(meanwhile, self.all, "it has caught up with what was said meanwhile")
        self.broadcast(victim, self.all)
        self.broadcast(0, self.all)

    def cut_in_two(self) -> None:
        half = {number for number in self.all if number * 2 >= len(self.all)}
        rest = self.all - half
        self.network.attach(half, "half")
        self.tell(f"the network is cut: {sorted(rest)} and {sorted(half)}")
        for island in (rest, half):
            self.wait_alive(island, 60, f"{sorted(island)} take each other, and nobody else, for alive")
        meanwhile = []
        for island in (rest, half):
            self.wait(f"{sorted(island)} are one island", 30, lambda these=island: self.is_one(these))
            meanwhile.append(self.broadcast(min(island), island))
        self.network.attach(half, "whole")
        self.tell("the network is whole again")
        self.wait("the two islands have become one overlay", 60, lambda: self.is_one(self.all))
        self.wait_alive(self.all, 60, "all see all again")
        for text in meanwhile:
            self.wait_message(text, self.all, f"all have `{text}`, which was said on one side meanwhile")
        for island in (rest, half):
            self.broadcast(min(island), self.all)


def host(number: int) -> str:
    return f"{NETWORK}{FIRST_HOST + number}"


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"`ip {' '.join(words)}`: {done.stderr.strip()}")


def inside(options: argparse.Namespace) -> int:
    """The whole run, in namespaces of its own, where this process is the first: with it everything ends."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    folder = Path("/run/ovid")
    folder.mkdir()
    try:
        network = Network(options.servers)
        servers = [
            Server(options.server, number, options.servers, folder) for number in range(options.servers)
        ]
        Story(servers, network).run()
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr, flush=True)
        if options.logs is not None:
            shutil.copytree(folder, options.logs, dirs_exist_ok=True)
        return STATUS_FAILED
    print("passed", flush=True)
    return 0


def end_with_parent() -> None:
    """Standard input is a pipe whose other end the parent holds and never writes to."""
    sys.stdin.read()
    os._exit(STATUS_FAILED)


def in_namespaces(words: list[str]) -> list[str]:
    """A command line that runs `words` in namespaces of their own, which end with it."""
    identity = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    made = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *identity, *made, *words]


def impossible() -> str:
    """Why this machine has no namespaces for us; empty if it has."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    for tool, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("mount", "util-linux")):
        if shutil.which(tool) is None:
            return f"`{tool}` was not found; install it (Debian: apt-get install {package})"
    tried = (
        "mount -t tmpfs tmpfs /run && ip netns add one && ip link add end0 type veth peer name end1 netns one"
    )
    done = subprocess.run(in_namespaces(["sh", "-c", tried]), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"no namespaces for this user, try as root: {done.stderr.strip()}"
    return ""


def outside(options: argparse.Namespace) -> int:
    """Runs this program again in namespaces of its own and waits for it."""
    reason = impossible()
    if reason:
        print(f"overlay.py: {reason}", file=sys.stderr)
        return STATUS_IMPOSSIBLE
    words = [sys.executable, str(Path(__file__).resolve()), "--inside", *sys.argv[1:]]
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    # In a session of its own, so that Ctrl-C comes here alone.
    run = subprocess.Popen(in_namespaces(words), stdin=subprocess.PIPE, start_new_session=True)
    assert run.stdin is not None
    try:
        return run.wait()
    except KeyboardInterrupt:
        print("overlay.py: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        run.stdin.close()
        run.wait()


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server",
        type=lambda text: Path(text).resolve(),
        default=CHECKOUT / "target" / "release" / "ovid",
        metavar="PATH",
        help="the program to run (default: target/release/ovid)",
    )
    parser.add_argument("--servers", type=int, default=8, metavar="COUNT", help="how many (default: 8)")
    parser.add_argument(
        "--logs", type=Path, metavar="DIR", help="keep the servers' logs there after a failure"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 4 <= options.servers <= 200:
        parser.error("--servers must lie between 4 and 200")
    if not os.access(options.server, os.X_OK):
        parser.error(
            f"there is no program {options.server}; run `cargo build --release`, or name one by --server"
        )
    return inside(options) if options.inside else outside(options)


if __name__ == "__main__":
    sys.exit(main())
