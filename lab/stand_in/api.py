"""The API that both engines speak, OpenAI's: deterministic words, real streaming, usage in tokens."""

import hashlib
import hmac
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any, NoReturn

from lab.stand_in.machine import fail, say

FINGERPRINT = "stand-in"
WORDS = (
    "anchor", "berth", "cable", "deck", "ebb", "fleet", "gale", "harbour", "isle", "jetty", "keel", "launch", "mast",
    "north", "oar", "pier", "quay", "rudder", "slipway", "tide", "uncharted", "vessel", "wharf", "yard",
)  # fmt: skip
TOKEN_S = 0.002
"""How long one token takes."""
MOST_TOKENS = 4096
DRAIN_S = 0.7
"""How long answers that have begun may go on after SIGTERM."""


class Failed(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Engine:
    """What is served. `before` is asked before the first token, with the request and the prompt's digest."""

    program: str
    version: str
    model: str
    host: str
    port: int
    api_key: str = ""
    before: Callable[[Mapping[str, Any], str], None] = lambda _, __: None
    info: Mapping[str, Any] = field(default_factory=dict)
    most: int = MOST_TOKENS
    """The most tokens of an answer; a prefill server makes one."""


class Server(ThreadingHTTPServer):
    """One thread a connection; they end with the process."""

    daemon_threads = True
    request_queue_size = 256
    engine: Engine
    active = 0
    served = 0

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        """A client that went away is nobody's error."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def version_string(self) -> str:
        """The header `Server`."""
        return f"stand-in {self.server.engine.program}/{self.server.engine.version}"

    def log_message(self, *_: object) -> None:
        """Requests are told when they are answered."""

    def do_GET(self) -> None:
        """Health, and what is served."""
        engine, path = self.server.engine, self.path.partition("?")[0]
        documents: dict[str, Any] = {
            "/v1/models": {"object": "list", "data": [_card(engine)]},
            "/version": {"version": engine.version, "stand_in": True},
            "/model_info": {"model_path": engine.info.get("model_path", engine.model), "is_generation": True},
            "/server_info": {"version": engine.version, "stand_in": True, **engine.info},
        }
        if path.startswith("/health"):
            self.reply(200, b"")
        elif path == "/metrics":
            self.reply(200, f"stand_in_requests_total {self.server.served}\n".encode(), "text/plain; version=0.0.4")
        elif not self.allowed():
            self.reply(401, b'{"error": "Unauthorized"}')
        elif document := documents.get(path.replace("/get_", "/")):
            self.reply(200, json.dumps(document).encode())
        else:
            self.reply(404, b'{"detail": "Not Found"}')

    def do_POST(self) -> None:
        """A completion."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.active += 1
        try:
            if not self.allowed():
                self.reply(401, b'{"error": "Unauthorized"}')
                return
            if self.path not in ("/v1/chat/completions", "/v1/completions"):
                self.reply(404, b'{"detail": "Not Found"}')
                return
            tokens = self.complete(body, chat="chat" in self.path)
            say(f"{self.client_address[0]} POST {self.path} 200, {tokens} tokens")
        except Failed as error:
            say(f"{self.client_address[0]} POST {self.path} {error.status}, {error}")
            kind = "BadRequestError" if error.status < 500 else "InternalServerError"
            document = {"object": "error", "message": f"stand-in: {error}", "type": kind, "code": error.status}
            self.reply(error.status, json.dumps({**document, "error": document}).encode())
        except ConnectionError:
            say(f"{self.client_address[0]} POST {self.path}: the client went away")
        finally:
            self.server.active -= 1
            self.server.served += 1

    def allowed(self) -> bool:
        """Whether the key is right, where there is one."""
        key, said = self.server.engine.api_key, self.headers.get("Authorization", "")
        return not key or hmac.compare_digest(said.encode(), f"Bearer {key}".encode())

    def complete(self, body: bytes, *, chat: bool) -> int:
        """Answer one request; the number of tokens."""
        engine = self.server.engine
        request, prompt = _read(body, chat=chat)
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        words, reason = _words(request, digest, engine.most)
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(words)}
        usage["total_tokens"] = sum(usage.values())
        common = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-stand-in-{digest[:16]}", "created": int(time.time()),
            "model": engine.model, "system_fingerprint": FINGERPRINT,
        }  # fmt: skip
        engine.before(request, digest)
        if request.get("stream"):
            self.stream(_chunks(request, common, words, reason, usage, chat=chat))
            return len(words)
        time.sleep(len(words) * TOKEN_S)
        text = " ".join(words)
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        kind = "chat.completion" if chat else "text_completion"
        document = {**common, "object": kind, "choices": [choice], "usage": usage}
        self.reply(200, json.dumps(document).encode())
        return len(words)

    def stream(self, events: Iterator[str]) -> None:
        """Server-sent events, one chunk each."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        """One whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(engine: Engine, leave: Callable[[], None], close: Callable[[], None]) -> NoReturn:
    """Serve until SIGTERM or SIGINT: then `leave` at once, and `close` after the last answer; exit status 0."""
    try:
        server = Server((engine.host, engine.port), Handler)
    except OSError as error:
        fail(f"can't listen on {engine.host} port {engine.port}: {error}")
    server.engine = engine
    ended = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        leave()
        say(f"ended by {signal.Signals(number).name}")
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    say("Application startup complete.")
    say(f"serving {engine.model} on http://{engine.host}:{engine.port}")
    while not ended.wait(60.0):
        pass
    server.shutdown()
    server.server_close()
    until = time.monotonic() + DRAIN_S
    while server.active and time.monotonic() < until:
        time.sleep(0.02)
    close()
    raise SystemExit(0)


def _card(engine: Engine) -> dict[str, Any]:
    return {"id": engine.model, "object": "model", "created": 0, "owned_by": "stand-in", "root": engine.model}


def _read(body: bytes, *, chat: bool) -> tuple[dict[str, Any], str]:
    """The request and its prompt as one text. Raises Failed."""
    try:
        request = json.loads(body)
        if not isinstance(request, dict):
            raise TypeError("the body is no object")
        if chat:
            prompt = "\n".join(json.dumps(message["content"]) for message in request["messages"])
        else:
            prompt = json.dumps(request["prompt"])
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(400, f"{type(error).__name__}: {error}") from None
    if not request.get("model"):
        raise Failed(400, "the request names no model")
    return request, prompt


def _words(request: Mapping[str, Any], digest: str, most: int) -> tuple[list[str], str]:
    """The answer's tokens and why it ends: the same for the same prompt."""
    asked = request.get("max_completion_tokens") or request.get("max_tokens")
    natural = 8 + int(digest[:2], 16) % 24
    if asked is not None and (not isinstance(asked, int) or asked < 1):
        raise Failed(400, f"max_tokens must be at least 1, got {asked}")
    wanted = asked if asked and (request.get("ignore_eos") or asked < natural) else natural
    count = min(wanted, most, MOST_TOKENS)
    picked = (WORDS[int(digest[at % 60 : at % 60 + 3], 16) % len(WORDS)] for at in range(count - 1))
    return ["stand-in", *picked], "length" if count != natural else "stop"


def _chunks(
    request: Mapping[str, Any], common: Mapping[str, Any], words: list[str], reason: str, usage: Mapping[str, int], *,
    chat: bool,
) -> Iterator[str]:  # fmt: skip
    """The events of a streamed answer, a token each, as slow as tokens are."""
    kind = "chat.completion.chunk" if chat else "text_completion"
    for number, word in enumerate(words):
        time.sleep(TOKEN_S)
        text = word if number == 0 else f" {word}"
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason if number == len(words) - 1 else None}
        if chat:
            choice["delta"] = {"role": "assistant", "content": text} if number == 0 else {"content": text}
        else:
            choice["text"] = text
        yield json.dumps({**common, "object": kind, "choices": [choice]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield json.dumps({**common, "object": kind, "choices": [], "usage": usage})
    yield "[DONE]"
