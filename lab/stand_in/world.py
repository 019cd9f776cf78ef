"""The ranks of one engine: the others connect to rank 0 over TCP, work with it, and are missed when they are gone."""

import json
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

from lab.stand_in.machine import end, fail, here, say

PATIENCE_S = 600.0
"""How long ranks wait for one another, as torch's rendezvous does."""
BEAT_S, SILENCE_S = 1.0, 90.0
"""A cable that is out for half a minute ends no job; a rank that died closes its connection, and is missed at once."""
GRACE_S = 0.3
"""Where all ranks are ended at once, each hears of it before it takes another one for lost."""


@dataclass
class Member:
    """One connected rank; `done` is the last step that it took part in."""

    rank: int
    host: str
    link: socket.socket
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class World:
    """Rank 0's side."""

    def __init__(self, size: int, port: int, job: str) -> None:
        self.size, self.job = size, job
        self.members: dict[int, Member] = {}
        self.changed = threading.Condition()
        self.steps = 0
        self.closing = False
        if size > 1:
            listener = socket.create_server(("", port), backlog=256)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            say(f"rank 0 of {size} waits for the others on {here()} port {port}")

    def gather(self) -> None:
        """Return when all ranks are connected; the process ends where they are not in time."""
        latest = time.monotonic() + PATIENCE_S
        with self.changed:
            while len(self.members) < self.size - 1:
                if not self.changed.wait(max(0.0, min(10.0, latest - time.monotonic()))):
                    missing = sorted(set(range(1, self.size)) - set(self.members))
                    if time.monotonic() >= latest:
                        end(f"ranks {missing} did not come within {PATIENCE_S:.0f} s")
                    say(f"rank 0 still waits for ranks {missing}")
        if self.size > 1:
            say(f"all {self.size} ranks are connected")

    def step(self) -> None:
        """One step that every rank takes part in; returns when all have."""
        with self.changed:
            self.steps += 1
            number = self.steps
        for member in list(self.members.values()):
            self._send(member, f"step {number}")
        with self.changed:
            self.changed.wait_for(lambda: all(member.done >= number for member in self.members.values()))

    def leave(self) -> None:
        """From now on no rank is missed."""
        self.closing = True

    def close(self) -> None:
        """Let the other ranks end in good order."""
        self.closing = True
        for member in list(self.members.values()):
            self._send(member, "bye")

    def _send(self, member: Member, line: str) -> None:
        try:
            with member.lock:
                member.link.sendall(f"{line}\n".encode())
        except OSError:
            self._lost(member)

    def _lost(self, member: Member) -> None:
        time.sleep(GRACE_S)
        if not self.closing:
            self.closing = True
            end(f"rank {member.rank} on {member.host} was lost")

    def _accept(self, listener: socket.socket) -> None:
        while True:
            link, address = listener.accept()
            threading.Thread(target=self._attend, args=(link, str(address[0])), daemon=True).start()

    def _attend(self, link: socket.socket, address: str) -> None:
        """One connection: its hello, then its beats until it breaks."""
        link.settimeout(SILENCE_S)
        lines = link.makefile("r", encoding="utf-8")
        try:
            hello = json.loads(lines.readline(4096))
            member = Member(rank=int(hello["rank"]), host=str(hello["host"]), link=link)
        except (OSError, ValueError, KeyError, TypeError):
            link.close()  # whatever that was, it is no rank
            return
        if wrong := self._wrong(hello, member):
            say(f"refused rank {member.rank} on {member.host} ({address}): {wrong}")
            link.sendall(f"refused {wrong}\n".encode())
            link.close()
            return
        with self.changed:
            self.members[member.rank] = member
            self.changed.notify_all()
        say(f"rank {member.rank} on {member.host} ({address}) is connected")
        try:
            while line := lines.readline(4096):
                if line.startswith("done "):
                    with self.changed:
                        member.done = int(line.split()[1])
                        self.changed.notify_all()
        except (OSError, ValueError):
            pass
        self._lost(member)

    def _wrong(self, hello: dict[str, Any], member: Member) -> str:
        if hello.get("job") != self.job:
            return "it belongs to another job"
        if hello.get("size") != self.size:
            return f"it counts {hello.get('size')} ranks, rank 0 {self.size}"
        if not 0 < member.rank < self.size or member.rank in self.members:
            return "that rank is taken" if member.rank in self.members else f"there are {self.size} ranks"
        return ""


def work(rank: int, size: int, heads: Sequence[str], port: int, job: str) -> NoReturn:
    """Another rank's life: connect to rank 0, take part in its steps, end with it."""
    signal.signal(signal.SIGTERM, _ended)
    link = _connected(rank, heads, port)
    link.settimeout(None)
    link.sendall(json.dumps({"rank": rank, "host": here(), "size": size, "job": job}).encode() + b"\n")
    waiting = selectors.DefaultSelector()
    waiting.register(link, selectors.EVENT_READ)
    unread = b""
    try:
        while True:
            if not waiting.select(BEAT_S):
                link.sendall(b"beat\n")
                continue
            received = link.recv(4096)
            if not received:
                time.sleep(GRACE_S)
                fail(f"rank {rank} on {here()}: rank 0 was lost")
            *lines, unread = (unread + received).split(b"\n")
            for word, _, rest in (line.decode().partition(" ") for line in lines):
                if word == "bye":
                    say(f"rank {rank} on {here()}: rank 0 has ended, and so does this one")
                    sys.exit(0)
                if word == "refused":
                    fail(f"rank {rank} on {here()}: rank 0 refused it: {rest}")
                link.sendall(f"done {rest}\n".encode())
    except OSError as error:
        time.sleep(GRACE_S)
        fail(f"rank {rank} on {here()}: rank 0 was lost: {error}")


def _connected(rank: int, heads: Sequence[str], port: int) -> socket.socket:
    """The link to rank 0, which may start later than this one."""
    latest, told = time.monotonic() + PATIENCE_S, 0.0
    while True:
        error: OSError | None = None
        for head in heads:
            try:
                return socket.create_connection((head, port), timeout=3.0)
            except OSError as refused:
                error = refused
        now = time.monotonic()
        if now > latest:
            fail(f"rank {rank} on {here()}: no rank 0 at {' or '.join(heads)} port {port}: {error}")
        if now - told > 10:
            told = now
            say(f"rank {rank} on {here()} waits for rank 0 at {' or '.join(heads)} port {port}: {error}")
        time.sleep(0.1)


def _ended(number: int, _: FrameType | None) -> NoReturn:
    say(f"ended by {signal.Signals(number).name}")
    sys.exit(0)
