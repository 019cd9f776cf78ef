"""A wheel read over HTTP: by ranges where the server allows them, and what is said where it does not."""

import ssl
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools.wheel import Ranges, Wheel, opened, texts

CONTENT = {"demo/a.py": "A = 1\n" * 50, "demo/b.py": "B = 2\n", "demo/kernel.so": "x" * 2_000_000}


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wheel") / "demo-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, text in CONTENT.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def server(wheel_file: Path) -> Iterator[tuple[str, list[str]]]:
    data = wheel_file.read_bytes()
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            asked.append(wanted)
            body, status = data, 200
            if wanted and not self.path.startswith("/whole"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                body, status = data[int(first) : int(last) + 1], 206
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"{wanted.replace('=', ' ')}/{len(data)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # a client that saw enough
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", asked
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def test_only_what_is_wanted_travels(server: tuple[str, list[str]]) -> None:
    url, asked = server
    wheel = Wheel(distribution="demo", release="1", url=f"{url}/demo-1-py3-none-any.whl", metadata={})
    assert wheel.name == "demo-1-py3-none-any.whl"
    with opened(wheel, print) as archive:
        found = texts(archive, lambda name: name.endswith(".py"))
    assert found == {name: text for name, text in CONTENT.items() if name.endswith(".py")}
    bytes_read = sum(int(last) - int(first) + 1 for first, last in (one[6:].split("-") for one in asked))
    assert bytes_read < 1_000_000


def test_a_server_without_ranges_is_recognised(server: tuple[str, list[str]]) -> None:
    url, _ = server
    with pytest.raises(OSError, match="no ranges"):
        Ranges(f"{url}/whole/demo.whl", ssl.create_default_context())


def test_a_local_wheel_is_opened_where_it_lies(wheel_file: Path) -> None:
    wheel = Wheel(distribution="demo", release="1", url=wheel_file.as_uri(), metadata={})
    with opened(wheel, print) as archive:
        assert texts(archive, lambda name: name == "demo/b.py") == {"demo/b.py": "B = 2\n"}
