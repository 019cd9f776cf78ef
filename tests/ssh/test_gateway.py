"""The gateway for real: nginx from its own configuration, without root, before a small server that streams."""

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hosts.fleet import Storage
from hosts.programs import client, ready, smoke
from hosts.resources.programs import program
from infra import paths
from infra.deployment import Deployment, EndpointConfig
from infra.launchers import gateway
from tests.unit.stacks import shipped

KEY = "sk-1.\"quoted'\\$1 {a;b}\\"
"""What nginx, sed and a shell each would read as something else."""
IS_ROOT = os.geteuid() == 0
AS_USER = ["setpriv", "--reuid=games", "--regid=games", "--clear-groups"] if IS_ROOT else []
"""Where the tests run as root, nginx does not."""
PORTS = iter(range(21000 + os.getpid() % 500 * 8, 31000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A gateway that runs, and what it is for."""

    d: Deployment
    process: "subprocess.Popen[bytes]"
    log: Path

    def open(self, path: str, *, key: str | None = KEY, body: object = None, **headers: str) -> tuple[int, Any, Any]:
        """(status, headers, JSON or text) of one request, by GET where there is no body."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.d.url("127.0.0.1") + path, data=data, headers=headers)  # noqa: S310
        tls = (
            [urllib.request.HTTPSHandler(context=client.trusting(gateway.pinned(self.d)))]
            if self.d.endpoint.certificate
            else []
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({}), *tls).open(request, timeout=20) as answer:
                status, told, text = answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, told, text = error.code, error.headers, error.read().decode()
        try:
            return status, told, json.loads(text)
        except ValueError:
            return status, told, text


def free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def ports() -> tuple[int, int]:
    """A free port with a free one behind it."""
    return next((port, port + 10000) for port in PORTS if free(port) and free(port + 10000))


def servers_of(d: Deployment) -> tuple[str, ...]:
    """The one server behind it, on loopback."""
    return (f"127.0.0.1:{d.inner_port}",)


def run_folder(d: Deployment) -> Path:
    """The private folder of the run, which only its user enters."""
    return Path(f"/tmp/slipway.{d.stack}.run")  # noqa: S108 - made by the test, removed at its end


def script(d: Deployment, servers: tuple[str, ...] = ()) -> str:
    """The process as its launcher writes it: with a private folder of its own."""
    command, before = gateway.process(d, servers or servers_of(d))
    run = run_folder(d)
    return (
        f"set -euo pipefail\nexport SLIPWAY_STACK={d.stack} SLIPWAY_RUN={run} TMPDIR={run}/gateway\n"
        f'rm -rf -- "$TMPDIR"\nmkdir -p -m 0700 -- "$SLIPWAY_RUN" "$TMPDIR"\n{before}\nexec {command.line()}\n'
    )


@contextmanager
def folder_of(d: Deployment, key: str, servers: tuple[str, ...] = ()) -> Iterator[Path]:
    """The job's folder with what is written there before, as the service user's."""
    folder = Path(paths.job_folder(d))
    folder.mkdir(parents=True)
    (folder / gateway.CONF).write_text(gateway.conf(d, servers or servers_of(d)))
    (folder / "gate.py").write_text(program("gate"))
    (folder / "api-key").write_text(key + "\n")
    (folder / client.PROOF_FILE).write_text("5" * 64)
    secrets = (folder / "api-key", folder / client.PROOF_FILE)
    for path in (folder, *secrets, folder.parent, folder.parent.parent):
        if IS_ROOT:
            shutil.chown(path, "games", "games")
    for path in secrets:
        path.chmod(0o600)
    try:
        yield folder
    finally:
        shutil.rmtree(run_folder(d), ignore_errors=True)


@contextmanager
def running(d: Deployment, key: str = KEY, servers: tuple[str, ...] = (), *, opens: bool = True) -> Iterator[Door]:
    """A gateway and what it writes on its standard output and error; it `opens` to an engine that is its own."""
    with folder_of(d, key, servers) as folder:
        log = folder / "gateway.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*AS_USER, "bash", "-c", script(d, servers)],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            try:
                end = time.monotonic() + 10
                while free(d.port):
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < end, log.read_text()
                    time.sleep(0.02)
                flag = run_folder(d) / "gateway" / "open"
                behind = [int(port) for port in gateway.watched(servers or servers_of(d))]
                while opens and not any(map(free, behind)) and not flag.exists():
                    assert time.monotonic() < end, log.read_text()
                    time.sleep(0.02)
                yield Door(d=d, process=process, log=log)
            finally:
                process.terminate()
                process.wait(10)
    assert key not in log.read_text()


@contextmanager
def engine(d: Deployment, port: int = 0, *address: str, stack: str = "") -> Iterator[tuple[int, int]]:
    """The server behind it, at its inner port or another, of its stack or another: (pid, port)."""
    port = port or d.inner_port
    with (Path(__file__).parent / "streaming.py").open() as text:  # in a folder that its user may not enter
        process = subprocess.Popen(
            [*AS_USER, "python3", "-", str(port), *address],
            stdin=text,
            env={**os.environ, "PATH": "/usr/bin:/bin", "SLIPWAY_STACK": stack or d.stack},
        )
    try:
        end = time.monotonic() + 10
        while free(port):
            assert time.monotonic() < end
            time.sleep(0.02)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def d() -> Iterator[Deployment]:
    """A deployment whose storage other users reach."""
    if not shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.fail("nginx is not installed; `make setup` installs it with the tests (nginx-light)")
    made = shipped("k2-trtllm-tp16")
    port, _ = ports()
    storage = Path(f"/tmp/slipway-test-{os.getpid()}-{port}")  # noqa: S108 - pytest's own folders are closed to others
    fleet = replace(made.fleet, storage=Storage(path=str(storage)))
    yield replace(made, stack=f"test-{os.getpid()}-{port}", fleet=fleet, port=port)
    shutil.rmtree(storage)


def test_the_key_opens_it(d: Deployment) -> None:
    with engine(d), running(d) as door:
        status, headers, said = door.open("/v1/models")
        assert (status, said["path"]) == (200, "/v1/models")
        assert "X-Told-authorization" not in headers, "the engine does not know the key, and may log what it gets"
        assert len(headers["X-Told-x-request-id"]) == 32
        assert door.open("/v1/models", **{"X-Request-Id": "mine"})[1]["X-Told-x-request-id"] == "mine"
        assert door.open("/v1/models", key=None, Authorization=f"bearer  {KEY}")[0] == 200, "schemes have no case"
        for wrong in ("", KEY.upper(), KEY[:-1], f"{KEY}x", f"x{KEY}", KEY.replace(".", "x"), ".*", "\\x41"):
            status, headers, said = door.open("/v1/models", key=wrong)
            assert (status, said["error"]["code"]) == (401, "invalid_api_key"), wrong
            assert headers["WWW-Authenticate"] == "Bearer"
        assert door.open("/v1/models", key=None)[0] == 401
        assert door.open("/v1/models", key=None, Authorization=KEY)[0] == 401
        assert door.open("/v1/models", key=None, Authorization=f"Basic {KEY}")[0] == 401


def test_health_alone_is_open(d: Deployment) -> None:
    with engine(d), running(d) as door:
        assert door.open("/health", key=None)[2]["path"] == "/health"
        for path in ("/", "/healthz", "/health/", "/metrics", "/v1", "/health/x", "/docs", "/HEALTH"):
            assert door.open(path, key=None)[0] == 401, path
        # what becomes /health is no way to anything else
        assert door.open("/v1/models/../../health", key=None)[2]["path"] == "/health"
        assert door.open("/health/../metrics", key=None)[0] == 401
        assert door.open("/health", key=None, body={})[0] == 403


def test_its_files_are_private_and_its_process_tagged(d: Deployment) -> None:
    with engine(d), running(d) as door:
        private = run_folder(d) / "gateway"
        assert private.stat().st_mode & 0o777 == 0o700
        assert (private / "key.conf").stat().st_mode & 0o777 == 0o600
        pid = door.process.pid
        assert f"SLIPWAY_STACK={d.stack}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert KEY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        (nginx,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert not Path(f"/proc/{nginx}/task/{nginx}/children").read_text(), "it has no workers, which lose the tag"
        door.process.send_signal(signal.SIGTERM)
        assert door.process.wait(5) == 0
        assert not Path(f"/proc/{nginx}").exists()
        assert door.log.read_text() == ""


def test_chunks_arrive_as_they_are_sent(d: Deployment) -> None:
    with engine(d), running(d) as door:
        connection = http.client.HTTPConnection("127.0.0.1", d.port, timeout=10)
        body = json.dumps({"chunks": 5, "pause_s": 0.3})
        began = time.monotonic()
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        at = []
        while answer.readline().startswith(b"data:"):
            at.append(time.monotonic() - began)
            answer.readline()
        assert len(at) == 5
        assert at[0] < 0.2, "the first is not held back"
        assert 0.2 < at[1] - at[0] < 0.5, "nor is any other"
        # a client that goes away takes its request with it
        connection.request("POST", "/v1/chat/completions", json.dumps({"chunks": 1000, "pause_s": 0.01}),
                           {"Authorization": f"Bearer {KEY}"})  # fmt: skip
        connection.getresponse().readline()
        connection.close()
        end = time.monotonic() + 5
        while door.open("/v1/seen")[2]["cut short"] != 1 and time.monotonic() < end:
            time.sleep(0.05)
        assert door.open("/v1/seen")[2] == {"completions": 2, "cut short": 1}


def test_a_hundred_at_once(d: Deployment) -> None:
    async def one(n: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", d.port)
        body = json.dumps({"chunks": 20, "pause_s": 0.02}).encode()
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: a{n}\r\nAuthorization: Bearer {KEY}\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        text = await reader.read()
        writer.close()
        return text.count(b"data: ")

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*map(one, range(100)))

    with engine(d), running(d) as door:
        assert asyncio.run(all_of_them()) == [20] * 100
        assert door.open("/v1/seen")[2]["completions"] == 100


def test_without_an_engine_it_says_so(d: Deployment) -> None:
    with running(d) as door:
        status, _, said = door.open("/v1/chat/completions", body={})
        assert (status, said["error"]["code"]) == (502, "engine_unavailable")
        assert said["error"]["message"] == "trtllm does not answer: it is starting or has ended"
        assert door.open("/health", key=None)[0] == 502
        assert door.open("/v1/chat/completions", key="no", body={})[0] == 401


def test_it_stays_closed_before_what_is_not_its_engine(d: Deployment) -> None:
    """Another process on the engine's port gets no request, neither before the engine nor after its end."""
    with engine(d, stack="another"), running(d, opens=False) as door:
        time.sleep(0.5)
        assert door.open("/v1/models")[2]["error"]["code"] == "engine_unavailable"
        assert completions(d.inner_port) == 0
        assert f"port {d.inner_port}" in door.log.read_text()
    shutil.rmtree(paths.job_folder(d))
    with running(d) as door:
        with engine(d):
            end = time.monotonic() + 5
            while door.open("/v1/models")[0] != 200:
                assert time.monotonic() < end
        while not free(d.inner_port):
            time.sleep(0.02)
        time.sleep(0.3)
        with engine(d, stack="another"):
            assert door.open("/v1/chat/completions", body={"chunks": 1, "pause_s": 0})[0] == 502
            assert completions(d.inner_port) == 0


def test_who_listens_at_other_addresses_closes_nothing(d: Deployment) -> None:
    with engine(d, d.inner_port, "127.0.0.1"), running(d) as door:
        with (
            socket.create_server(("127.0.0.2", d.inner_port)),
            socket.create_server(("::1", d.inner_port), family=socket.AF_INET6),
        ):
            time.sleep(0.5)
            assert door.open("/v1/models")[0] == 200
        with socket.create_server(("0.0.0.0", d.port + 3)):  # noqa: S104 - of loopback too, and another port
            assert door.open("/v1/models")[0] == 200


def test_a_stranger_who_answers_byte_by_byte_is_given_up(d: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's timeout is one for each packet."""
    monkeypatch.setattr(client, "PROOF_TIMEOUT_S", 1)

    def drip() -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            for _ in range(40):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: x\r\n" if not _ else b"Y: y\r\n")
                time.sleep(0.5)

    with (
        folder_of(d, KEY) as folder,
        socket.create_server(("127.0.0.1", d.port)) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(drip)
        began = time.monotonic()
        with pytest.raises(client.NotOurs):
            client.connected(f"http://127.0.0.1:{d.port}", str(folder), 60)
        assert time.monotonic() - began < 5


def test_it_proves_whose_it_is(d: Deployment) -> None:
    """To who has the stack's files; nothing else that listens there can, not even by asking the gateway itself."""
    url, folder = f"http://127.0.0.1:{d.port}", paths.job_folder(d)
    with engine(d), running(d) as door:
        connection = client.connected(url, folder, 5)
        status, _ = client.post(connection, KEY, {"chunks": 1, "pause_s": 0})
        connection.close()
        assert status == 200
        for query in ("", "?nonce=", "?nonce=xyz", f"?nonce={'a' * 65}"):
            assert door.open(client.PROOF_PATH + query, key=None)[0] == 400, query
        assert door.open(f"{client.PROOF_PATH}?nonce={'a' * 32}", key=None, body={})[0] == 403
        # a relay at another address fetches the answer for its own address, which is the wrong one
        relay = socket.create_server(("127.0.0.1", d.port + 2))
        with relay, ThreadPoolExecutor(1) as pool:
            pool.submit(relayed, relay, d.port)
            with pytest.raises(client.NotOurs, match="does not answer the challenge"):
                client.connected(f"http://127.0.0.1:{d.port + 2}", folder, 5)
        Path(folder, client.PROOF_FILE).write_text("6" * 64)
        with pytest.raises(client.NotOurs):
            client.connected(url, folder, 5)


def relayed(server: socket.socket, port: int) -> None:
    """Passes one request on to a port of loopback, and its answer back."""
    connection, _ = server.accept()
    with connection, socket.create_connection(("127.0.0.1", port), timeout=5) as other:
        other.sendall(connection.recv(1 << 16))
        connection.sendall(other.recv(1 << 16))


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers everything, as somebody would who hopes for the key, and remembers what it was sent."""

    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.heard.append(f"{self.requestline}\n{self.headers}")
        self.send_response(200)
        self.send_header("Content-Length", "64")
        self.end_headers()
        self.wfile.write(b"0" * 64)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name that the library gives it
        """Quiet."""


def test_a_stranger_is_sent_no_key(d: Deployment) -> None:
    with folder_of(d, KEY) as folder, http.server.HTTPServer(("127.0.0.1", d.port), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{d.port}"
        served = ready.Served(d.stack, str(folder), str(d.port), "m", paths.api_key(d))
        with pytest.raises(client.NotOurs):
            ready.ask(url, served, 5)
        assert "does not answer the challenge" in smoke.ask(url, paths.api_key(d), {})["error"]
        server.shutdown()
        assert len(Stranger.heard) == 2
        assert not any("uthorization" in text for text in Stranger.heard)


def test_images_fit_and_more_is_refused(d: Deployment) -> None:
    with engine(d), running(d) as door:
        assert door.open("/v1/x", body="a" * (40 << 20))[2]["bytes"] == (40 << 20) + 2
        answer = b""
        with socket.create_connection(("127.0.0.1", d.port)) as connection:
            head = (
                f"POST /v1/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {65 << 20}\r\n\r\n"
            )
            connection.sendall(head.encode())
            answer = connection.recv(4096)
        assert b" 413 " in answer
        assert b"request_too_large" in answer


def test_tls_by_a_pinned_certificate(d: Deployment) -> None:
    chain, key = certificate(Path(d.fleet.storage.path), "llm.example")
    tls = replace(d, endpoint=EndpointConfig(certificate=str(chain), key=str(key)))
    assert tls.url("node") == f"https://node:{d.port}"
    with engine(tls), running(tls) as door:
        assert door.open("/v1/models")[0] == 200
        assert door.open("/v1/models", key="no")[0] == 401
        # in the clear it says what to do, and the key is not needed to be told
        connection = http.client.HTTPConnection("127.0.0.1", d.port, timeout=10)
        connection.request("GET", "/v1/models")
        assert b"https_required" in connection.getresponse().read()
        assert shake(d.port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        assert shake(d.port, ssl.TLSVersion.MAXIMUM_SUPPORTED) == "TLSv1.3"
        # of the chain, only the endpoint's own is trusted: another of the same authority is another endpoint
        other, _ = certificate(Path(d.fleet.storage.path), "other.example", again=True)
        Path(gateway.pinned(tls)).write_text(other.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            door.open("/v1/models")


def shake(port: int, version: ssl.TLSVersion) -> str | None:
    """The version of TLS that is agreed on, at most this one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as secure:
        return secure.version()


def certificate(folder: Path, name: str, *, again: bool = False) -> tuple[Path, Path]:
    """(chain, key) of a name, by an authority of the test's own."""
    folder.mkdir(exist_ok=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, cwd=folder, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    if not again:
        openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority")
    openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_text("a comment\n" + chain.read_text() + (folder / "ca.pem").read_text())
    for path in (folder, chain, key):
        if IS_ROOT:
            shutil.chown(path, "games", "games")
    return chain, key


def refused(d: Deployment) -> "subprocess.CompletedProcess[str]":
    """What it says where it does not come up."""
    argv = [*AS_USER, "bash", "-c", script(d)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)


@contextmanager
def two(d: Deployment) -> Iterator[tuple[int, int]]:
    """Two servers behind it, the second on another port of loopback: (pid, port) of that."""
    with engine(d), engine(d, d.port + 1) as (pid, port):  # which stands for the gateway of another node
        yield pid, port


def completions(port: int) -> int:
    """How many have come to the server itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/v1/seen")
    return int(json.load(connection.getresponse())["completions"])


def test_requests_are_divided_over_several_servers(d: Deployment) -> None:
    with two(d) as (pid, port):
        servers = (*servers_of(d), f"127.0.0.2:{port}")
        with running(d, servers=servers) as door:
            short = {"chunks": 1, "pause_s": 0}
            assert all(door.open("/v1/chat/completions", body=short)[0] == 200 for _ in range(20))
            assert [completions(it) for it in (d.inner_port, port)] == [10, 10]
            # one that has a long one gets fewer of those that come meanwhile
            with ThreadPoolExecutor(1) as pool:
                long = pool.submit(door.open, "/v1/chat/completions", body={"chunks": 2, "pause_s": 1})
                time.sleep(0.3)
                assert all(door.open("/v1/chat/completions", body=short)[0] == 200 for _ in range(10))
                assert sorted(completions(it) for it in (d.inner_port, port)) == [11, 20]
                assert long.result()[0] == 200
            # one that is gone is left out, and nobody sees it
            os.kill(pid, signal.SIGKILL)
            while not free(port):
                time.sleep(0.02)
            assert all(door.open("/v1/chat/completions", body=short)[0] == 200 for _ in range(20))
            assert door.open("/health", key=None)[0] == 200


def test_a_completion_that_was_sent_is_not_sent_again(d: Deployment) -> None:
    """The server dies with it in hands: the client is told, and no other server makes it a second time."""
    with socket.create_server(("127.0.0.2", d.port + 1)) as dying, engine(d):
        taken: list[bytes] = []

        def die() -> None:
            for _ in range(2):
                connection, _ = dying.accept()
                with connection:
                    taken.append(connection.recv(1 << 16))

        with ThreadPoolExecutor(1) as pool:
            pool.submit(die)
            servers = (f"127.0.0.2:{d.port + 1}", *servers_of(d))
            with running(d, servers=servers) as door:
                said = [door.open("/v1/chat/completions", body={"chunks": 1, "pause_s": 0})[0] for _ in range(6)]
                assert sorted(said) == [200] * 5 + [502]
                assert len(taken) == 1
                assert completions(d.inner_port) == 5
            with socket.create_connection(("127.0.0.2", d.port + 1)):
                pass


BAD_KEYS = [("", "no API key in"), ("a\x07b", "a control character"), ("k" * 513, "at most 512")]


@pytest.mark.parametrize(("key", "said"), BAD_KEYS, ids=("none", "control", "long"))
def test_a_key_that_is_none(d: Deployment, key: str, said: str) -> None:
    with folder_of(d, key):
        done = refused(d)
        assert done.returncode == 1
        assert done.stdout.startswith("slipway: error: ")
        assert said in done.stdout
        assert not key or key not in done.stdout + done.stderr


def test_files_that_it_can_not_read(d: Deployment) -> None:
    if not IS_ROOT:
        pytest.skip("as root only: another user's file")
    storage = Path(d.fleet.storage.path)
    storage.mkdir()
    (storage / "key.pem").touch(0o600)
    (storage / "cert.pem").touch(0o644)
    cases = (("key.pem", "games can't read"), ("cert.pem", "no certificate in"))
    for key, said in cases:
        tls = replace(d, endpoint=EndpointConfig(certificate=f"{storage}/cert.pem", key=f"{storage}/{key}"))
        with folder_of(tls, KEY) as folder:
            done = refused(tls)
            assert (done.returncode, said in done.stdout) == (1, True), done
        shutil.rmtree(folder)
