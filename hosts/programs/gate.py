"""Runs the gateway of a stack on its node: nginx, what proves to clients whose it is, and what opens it to its engine.

gate.py NGINX CONF PROOF_KEY_FILE STACK [PORT...]
    NGINX is the program, CONF its configuration, in which @RUN@ is the folder of the run ($SLIPWAY_RUN) and @TMP@ that
    of this process ($TMPDIR). PORTs are those on this node's loopback at which the engine or router listens that nginx
    hands requests to; none where it listens on a socket in the run's folder, which nobody else reaches.

A port on loopback is anybody's who may run programs on the node. So nginx answers 502 as long as the file @TMP@/open is
not there, and that file is there only while the listening socket of each PORT is held by a process of this stack, as
/proc shows. Ends when nginx does, and with its status.

Standard library of Python 3.10 only; lies in the job's folder.
"""

from __future__ import annotations

import http.server
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from hosts.programs.client import proof_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOOK_S = 0.2
NONCE = re.compile(r"[0-9a-f]{16,64}")
LISTEN = "0A"
"""TCP_LISTEN in /proc/net/tcp."""
LOOPBACK, MAPPED = "0100007F", "0000000000000000FFFF00000100007F"
"""127.0.0.1 there, and as an address of IPv6."""


class Prover(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers challenges on a socket that only nginx of this stack reaches."""

    daemon_threads = True
    request_queue_size = 64
    key = ""


class Challenge(http.server.BaseHTTPRequestHandler):
    """One challenge; nginx adds the address and port at which it arrived."""

    server: Prover
    timeout = 10

    def do_GET(self) -> None:
        nonce = parse_qs(urlsplit(self.path).query).get("nonce", [""])[0]
        address, _, port = self.headers.get("X-Slipway-Arrived", "").rpartition(" ")
        is_one = NONCE.fullmatch(nonce) and address and port.isdigit()
        body = proof_of(self.server.key, nonce, address, int(port)).encode() if is_one else b"wanted a nonce"
        self.send_response(200 if is_one else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name that the library gives it
        """Challenges leave no line in the log."""


class Listener(NamedTuple):
    """A listening TCP socket of this node: its inode, and the user that made it."""

    inode: str
    uid: int


def listeners(port: int) -> list[Listener]:
    """The sockets that a connection to a port of 127.0.0.1 may end at: what listens at other addresses is no matter."""
    found: dict[str, list[Listener]] = {}
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name, encoding="ascii") as file:
                next(file)
                for line in file:
                    words = line.split()
                    if words[3] != LISTEN:
                        break  # listening sockets come first, and anybody can make as many others as he likes
                    address, _, number = words[1].partition(":")
                    if int(number, 16) == port:
                        found.setdefault(address, []).append(Listener(inode=words[9], uid=int(words[7])))
        except (OSError, StopIteration):
            continue
    exact = found.get(LOOPBACK, []) + found.get(MAPPED, [])
    return exact or found.get("0" * 8) or found.get("0" * 32) or []


def is_of_stack(pid: str, stack: str) -> bool:
    """Whether a process has the stack's tag in its environment, which nobody but its own user and root can set."""
    try:
        if os.geteuid() == 0:  # root may look into everybody's; anyone else only into his own and his containers'
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
                # all four: a setuid program has the environment and the sockets of who started it
                if not re.search(r"^Uid:\t0\t0\t0\t0$", file.read(), re.MULTILINE):
                    return False
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"SLIPWAY_STACK={stack}".encode() in file.read().split(b"\0")
    except OSError:
        return False


def held(pid: str) -> Iterator[str]:
    """The inodes of the sockets that a process holds, as far as we may look."""
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                link = os.readlink(entry.path)
            except OSError:
                continue
            if link.startswith("socket:["):
                yield link[8:-1]
    except OSError:
        return


def is_held_by_stack(inode: str, stack: str) -> bool:
    """Whether a process of the stack holds the socket."""
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    return any(inode in held(pid) and is_of_stack(pid, stack) for pid in pids)


class Watch:
    """Keeps `open` there while the engine behind is the stack's own."""

    def __init__(self, ports: Sequence[int], stack: str, flag: str) -> None:
        self.ports, self.stack, self.flag = ports, stack, flag
        self.known: dict[int, set[str]] = {}
        self.foreign: set[tuple[int, int]] = set()

    def is_ours(self, port: int) -> bool:
        """Whether something listens at a port, and nothing there is anybody else's; names what is."""
        found = listeners(port)
        known = self.known[port] = self.known.get(port, set()) & {it.inode for it in found}  # numbers come again
        for it in found:
            if it.inode in known:
                continue
            self.set(is_open=False)  # first of all: to search all processes takes longer the more there are
            if is_held_by_stack(it.inode, self.stack):
                known.add(it.inode)
                continue
            if (port, it.uid) not in self.foreign:
                self.foreign.add((port, it.uid))
                print(
                    f"slipway: error: port {port} of {os.uname().nodename}, at which the engine has to listen, is held "
                    f"by a process of user {it.uid} that is not of {self.stack}; nothing is sent to it",
                    flush=True,
                )
            return False
        return bool(found)

    def look(self) -> None:
        """Opens or closes."""
        self.set(is_open=all(self.is_ours(port) for port in self.ports))

    def set(self, *, is_open: bool) -> None:
        """Makes or removes the file, where it is not as it should be."""
        if is_open != os.path.exists(self.flag):
            if is_open:
                os.close(os.open(self.flag, os.O_CREAT | os.O_WRONLY, 0o600))
            else:
                os.remove(self.flag)


def rendered(conf: str, run: str, temporary: str) -> str:
    """nginx's configuration with this run's folders in it."""
    with open(conf, encoding="utf-8") as file:
        return file.read().replace("@RUN@", run).replace("@TMP@", temporary)


def main(program: str, conf: str, key_file: str, stack: str, *ports: str) -> int:
    """Returns nginx's status."""
    run, temporary = os.environ["SLIPWAY_RUN"], os.environ["TMPDIR"]
    os.umask(0o077)
    written = f"{temporary}/nginx.conf"
    with open(written, "w", encoding="utf-8") as file:
        file.write(rendered(conf, run, temporary))
    prover = Prover(f"{temporary}/proof.sock", Challenge)
    prover.key = text_of(key_file)
    if not prover.key:
        sys.exit(f"slipway: error: {key_file} is empty, wanted a key; remove it and run pulumi up")
    threading.Thread(target=prover.serve_forever, daemon=True).start()
    nginx = subprocess.Popen([program, "-p", temporary, "-c", written, "-e", "stderr"])
    ended = threading.Event()

    def stop(number: int, _frame: object) -> None:
        nginx.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, stop)

    def follow() -> None:
        nginx.wait()
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    watch = Watch([int(port) for port in ports], stack, f"{temporary}/open")
    while not ended.is_set():
        watch.look()
        ended.wait(LOOK_S)
    status = nginx.returncode
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
