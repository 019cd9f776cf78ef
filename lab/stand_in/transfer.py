"""The KV cache's way from prefill to decode: a room on the prefill's bootstrap server, which decode empties."""

import http.client
import json
import os
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.stand_in.api import Failed
from lab.stand_in.machine import fail, here, say

WAIT_S = float(os.environ.get("SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT") or 30)
"""How long the two wait for one another: the variable is SGLang's own, its default there 300."""


class Rooms(ThreadingHTTPServer):
    """The bootstrap server: what a prefill has computed and no decode has fetched yet, by room."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int) -> None:
        self.kv: dict[str, str] = {}
        self.changed = threading.Condition()
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            fail(f"can't listen on {host} port {port} for the KV transfer: {error}")
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        say(f"bootstrap server on {host} port {port}")

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        """A decode that went away is found out by its router."""

    def put(self, rooms: list[str], digest: str) -> None:
        """Lay the KV down and wait until a decode has it, as a prefill does. Raises Failed."""
        with self.changed:
            self.kv |= dict.fromkeys(rooms, digest)
            self.changed.notify_all()
            if not self.changed.wait_for(lambda: not set(rooms) & set(self.kv), WAIT_S):
                for room in rooms:
                    self.kv.pop(room, None)
                raise Failed(500, f"no decode fetched the KV of room {', '.join(rooms)} within {WAIT_S:.0f} s")

    def take(self, room: str) -> str:
        """The KV of a room, once; "" where none comes in time."""
        with self.changed:
            self.changed.wait_for(lambda: room in self.kv, WAIT_S)
            digest = self.kv.pop(room, "")
            self.changed.notify_all()
            return digest


class Handler(BaseHTTPRequestHandler):
    """One decode's request."""

    server: Rooms

    def log_message(self, *_: object) -> None:
        """The prefill tells what matters."""

    def do_GET(self) -> None:
        """`/kv?room=N`, which waits for the room."""
        parts = urlsplit(self.path)
        room = parse_qs(parts.query).get("room", [""])[0]
        digest = self.server.take(room) if parts.path == "/kv" and room else ""
        body = json.dumps({"stand_in": True, "room": room, "kv": digest, "from": here()}).encode()
        self.send_response(200 if digest or parts.path == "/health" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if digest:
            say(f"room {room}: its KV went to {self.client_address[0]}")


def rooms_of(request: Mapping[str, Any], default_port: int) -> list[tuple[str, int, str]]:
    """(host, port, room) of each sequence in a request that a PD router sent. Raises Failed where it sent none."""
    host, port, room = (request.get(f"bootstrap_{what}") for what in ("host", "port", "room"))
    if room is None or host is None:
        raise Failed(400, "Disaggregated request received without bootstrap room id: send it through the router")
    many = room if isinstance(room, list) else [room]
    hosts = host if isinstance(host, list) else [host] * len(many)
    ports = port if isinstance(port, list) else [port] * len(many)
    return [(str(a), int(b or default_port), str(c)) for a, b, c in zip(hosts, ports, many, strict=True)]


def fetch(host: str, port: int, room: str, digest: str) -> None:
    """Get the KV of one room from its prefill, and see that it is this prompt's. Raises Failed."""
    began = time.monotonic()
    link = http.client.HTTPConnection(host.strip("[]"), port, timeout=WAIT_S + 5)
    try:
        link.request("GET", f"/kv?room={room}")
        answer = link.getresponse()
        document = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(502, f"no KV transfer from the prefill at {host} port {port}: {error}") from None
    finally:
        link.close()
    if answer.status != 200:
        raise Failed(504, f"the prefill at {host} port {port} laid down no KV for room {room} within {WAIT_S:.0f} s")
    if document.get("kv") != digest:
        raise Failed(500, f"the KV of room {room} from {host} is another prompt's")
    say(f"room {room}: got its KV from {document['from']} ({host}:{port}) after {time.monotonic() - began:.3f} s")
