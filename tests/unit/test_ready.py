"""What a log of vLLM tells: how far the start has come, and why it failed.

`logs/` has vLLM 0.19.1 on the lab's nodes, started wrongly on purpose (and once without a compiler); in the middle of
tracebacks frames are left out, and long lines are cut.
"""

import http.client
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from hosts.programs import client, ready
from hosts.resources.slurm_job import queue
from tests.unit.fake_slurm import Slurm, own, theirs

LOGS = Path(__file__).parent / "logs"


def log(name: str) -> list[str]:
    return (LOGS / f"{name}.log").read_text().splitlines()


def phases(lines: list[str]) -> list[str]:
    """Each phase once, in the order in which they show while the log grows."""
    shown = [ready.phase_of(lines[:n]) for n in range(len(lines) + 1)]
    return [phase for n, phase in enumerate(shown) if n == 0 or phase != shown[n - 1]]


PHASES: list[tuple[str, list[str]]] = [
    (
        "no-compiler",
        [
            "starting",
            "environment (job 16 on dgx1)",
            "checking weights",
            "starting vllm",
            "loading the engine",
            "loading weights 0 %",
            "loading weights 50 %",
            "weights loaded in 0.16 s",
            "loading weights 100 %",
            "warming up",
            "waiting for the first token",
            "vllm ended with status 0",
        ],
    ),
    ("cut-shard", ["starting", "loading the engine", "loading weights 0 %", "loading weights 50 %"]),
    ("length", ["starting"]),
]


@pytest.mark.parametrize(("name", "expected"), PHASES, ids=[name for name, _ in PHASES])
def test_phases(name: str, expected: list[str]) -> None:
    assert phases(log(name))[: len(expected)] == expected


REASONS: list[tuple[str, list[str]]] = [
    ("flag", ["vllm: error: unrecognized arguments: --no-such-flag"]),
    (
        "length",
        [
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
            "  Value error, User-specified max_model_len (99999999) is greater than the derived max_model_len ",
            "    For further information visit ",
        ],
    ),
    ("missing-shard", ["ValueError: Following weights were not initialized from checkpoint: {'model.layers.1."]),
    ("cut-shard", ["safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, "]),
    ("no-compiler", ["torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found in "]),
]


@pytest.mark.parametrize(("name", "expected"), REASONS, ids=[name for name, _ in REASONS])
def test_the_reason_is_the_first_failing_ranks_exception(name: str, expected: list[str]) -> None:
    """Not the warning before it that has `OSError` in its text, nor the server that says `see root cause above`."""
    reason = ready.reason_of(log(name))
    assert len(reason) == len(expected)
    for line, start in zip(reason, expected, strict=True):
        assert line.startswith(start)


LINES: list[tuple[str, list[str], list[str]]] = [
    ("nothing wrong", ["INFO 11-24 00:26:21 [importing.py:44] Triton is installed", "plain"], []),
    ("killed for memory", ["a", "slurmstepd: error: Detected 1 oom_kill event"], ["slurmstepd: error: Detected 1 oom"]),
    ("a wrong weight", ["weights: /m: a is missing", "slipway: error: the weights"], ["weights: /m: a is missing"]),
    (
        "an error that is logged, and no traceback",
        ["(EngineCore pid=1) ERROR 11-24 00:26:21 [a.py:1] gave up", "(APIServer pid=2) INFO:     Shutting down"],
        ["gave up"],
    ),
    (
        "the middle of another rank's lines",
        [
            "(Worker_TP1 pid=2) ERROR 11-24 00:26:21 [a.py:1] Traceback (most recent call last):",
            "(Worker_TP0 pid=1) ERROR 11-24 00:26:21 [a.py:1] RuntimeError: of another rank",
            '(Worker_TP1 pid=2) ERROR 11-24 00:26:21 [a.py:1]   File "a.py", line 1, in f',
            "(Worker_TP1 pid=2) ERROR 11-24 00:26:21 [a.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried",
        ],
        ["torch.OutOfMemoryError: CUDA out of memory. Tried"],
    ),
    (
        "the first of two chained ones",
        ["Traceback (most recent call last):", "  f()", "KeyError: 'a'", "", "During handling of", "ValueError: b"],
        ["KeyError: 'a'"],
    ),
    ("a traceback that was cut", ["Traceback (most recent call last):", "  f()"], ["Traceback (most", "  f()"]),
]


@pytest.mark.parametrize(("lines", "expected"), [row[1:] for row in LINES], ids=[row[0] for row in LINES])
def test_reasons_of_few_lines(lines: list[str], expected: list[str]) -> None:
    reason = ready.reason_of(lines)
    assert [line[: len(start)] for line, start in zip(reason, expected, strict=True)] == expected


def test_what_is_shown_fits_a_screen() -> None:
    assert ready.cause_of([]) == ["its log is empty"]
    assert ready.cause_of(["x"] * 20) == ["the log ends:", *["x"] * 8]
    shown = ready.cause_of([*log("missing-shard"), "y" * 5000])
    assert shown[1] == "the log ends:"
    assert len(shown) == 7
    assert max(map(len, shown)) == ready.SCREEN_CHARACTERS


def test_a_progress_bar_is_read_state_by_state(tmp_path: Path) -> None:
    (tmp_path / "job-7.out").write_bytes(b"slipway: starting vllm\nx:  0%\rLoading pt checkpoint shards:  50% \xff\r")
    lines = ready.log_of(str(tmp_path), "7")
    assert lines == ["slipway: starting vllm", "x:  0%", "Loading pt checkpoint shards:  50% \ufffd"]
    assert ready.phase_of(lines) == "loading weights 50 %"
    assert ready.log_of(str(tmp_path), "8") == []


@pytest.mark.parametrize(
    ("text", "job", "expected"),
    [
        ('{"job": "7", "tokens": 4}', "7", True),
        ('{"job": "7", "tokens": 4}', "8", False),
        ('{"job": "7"', "7", False),
        (None, "7", False),
    ],
)
def test_a_report_counts_for_its_own_job(text: str | None, job: str, expected: bool, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "ready.json").write_text(text)
    assert ready.self_reported(str(tmp_path), job) is expected


@pytest.fixture
def port() -> Iterator[int]:
    """A port of loopback where something answers that is no HTTP server."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_what_answers_may_be_something_else(port: int, tmp_path: Path) -> None:
    with pytest.raises(client.NotOurs, match="does not prove") as caught:
        ready.ask(f"http://127.0.0.1:{port}", by_units(tmp_path, {}), 10)
    assert isinstance(caught.value, ready.NO_TOKEN)


UNITS = ("n1/rank-0", "n2/rank-1", "n1/gateway")
ENDED: list[tuple[str, dict[str, str], tuple[str, str]]] = [
    ("none", {}, ("", "")),
    ("because another did", {"n1/rank-0": "success 0 -60"}, ("n1/rank-0", "success, status 0")),
    ("and may come back", {"n1/rank-0": "exit-code 1 -2"}, ("", "")),
    ("for good", {"n1/rank-0": "exit-code 1 -60"}, ("n1/rank-0", "exit-code, status 1")),
    (
        "the first of two",
        {"n1/rank-0": "exit-code 1 -50", "n2/rank-1": "signal KILL -60"},
        ("n2/rank-1", "signal, status KILL"),
    ),
    ("another stack's", {"n3/rank-2": "exit-code 1 -60"}, ("", "")),
    ("a file that is being written", {"n1/rank-0": "exit-code"}, ("", "")),
]


def by_units(folder: Path, files: dict[str, str], port: int = 0) -> ready.Served:
    """A stack whose units left these files: `.ended` ones say when by seconds from now, the rest are logs."""
    for name, text in files.items():
        *words, last = text.split(" ")
        ended = last.startswith("-") and last[1:].isdigit()
        file = folder / (f"{name}.ended" if ended or "." not in name else name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(" ".join((*words, str(int(time.time()) + int(last)))) if ended else text)
    (folder / "api-key").write_text("key\n")
    (folder / client.PROOF_FILE).write_text("proof")
    return ready.Served("k2", str(folder), str(port), "m", f"{folder}/api-key", "127.0.0.1", units=UNITS)


@pytest.mark.parametrize(("files", "expected"), [row[1:] for row in ENDED], ids=[row[0] for row in ENDED])
def test_a_unit_that_ended(files: dict[str, str], expected: tuple[str, str], tmp_path: Path) -> None:
    assert ready.ended(by_units(tmp_path, files)) == expected


LOADS = "INFO 11-24 00:26:21 [a.py:1] Starting to load model /m"
LOOKS: list[tuple[str, dict[str, str], tuple[str, str, str]]] = [
    ("nothing yet", {}, ("waiting", "127.0.0.1: starting", "n1/gateway")),
    ("one says", {"n1/rank-0.log": LOADS}, ("waiting", "n1/rank-0: loading the engine", "n1/rank-0")),
    (
        "what serves says most",
        {"n1/rank-0.log": LOADS, "n2/rank-1.log": "Loading weights took 3.5 seconds"},
        ("waiting", "n2/rank-1: weights loaded in 3.5 s", "n2/rank-1"),
    ),
    (
        "one ended",
        {"n1/rank-0.log": LOADS, "n2/rank-1": "exit-code 1 -60"},
        ("dead", "n2/rank-1 ended (exit-code, status 1)", "n2/rank-1"),
    ),
]


@pytest.mark.parametrize(("files", "expected"), [row[1:] for row in LOOKS], ids=[row[0] for row in LOOKS])
def test_units_that_do_not_answer(files: dict[str, str], expected: tuple[str, str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        assert ready.look(by_units(tmp_path, files, taken.getsockname()[1]), 5) == expected


class Answers(http.server.BaseHTTPRequestHandler):
    """Proves itself as a gateway does, and answers a completion with the next of `said`: (status, document)."""

    protocol_version = "HTTP/1.1"
    said: ClassVar[list[tuple[int, object]]] = []

    def do_GET(self) -> None:
        address, port = self.connection.getsockname()
        text = client.proof_of("proof", self.path.partition("nonce=")[2], address, port).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, document = self.said.pop(0)
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


ABSENT = {"error": {"code": "engine_unavailable"}}
SAID: list[tuple[int, object, str, str]] = [
    (200, {"usage": {"completion_tokens": 4}}, "ready", "http://127.0.0.1:{port} n1/gateway"),
    (200, {"usage": {"completion_tokens": 0}}, "waiting", "127.0.0.1: answers the completion has no token in it"),
    (401, {"error": "no"}, "waiting", '127.0.0.1: answers HTTP 401: {{"error": "no"}}'),
    (502, ABSENT, "waiting", "127.0.0.1: starting"),
]


@pytest.mark.parametrize("row", SAID, ids=[str(row[:2]) for row in SAID])
def test_units_that_answer(row: tuple[int, object, str, str], tmp_path: Path) -> None:
    status, document, verdict, text = row
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        Answers.said[:] = [(status, document)]
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        found = ready.look(by_units(tmp_path, {}, server.server_port), 5)
        thread.join(10)
        assert found == (verdict, text.format(port=server.server_port), "n1/gateway")


TAG = "slipway=k2,fingerprint=ab,intent=u-1"


def by_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int = 1) -> tuple[Slurm, ready.Served]:
    """A stack whose job is in a queue; its folder has the intent of job 7."""
    (tmp_path / "intent").write_text("u-1 7\n")
    (tmp_path / "api-key").write_text("key\n")
    slurm = Slurm(tmp_path)
    monkeypatch.setenv("PATH", slurm.path)
    shell = f"{queue('k2', str(tmp_path), '')}\nour_jobs"
    return slurm, ready.Served("k2", str(tmp_path), str(port), "m", f"{tmp_path}/api-key", queue=shell)


def test_a_look_alike_is_never_a_jobs_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes to the node of our own job alone."""
    slurm, served = by_slurm(tmp_path, monkeypatch)
    slurm.jobs = [theirs("9", TAG, str(tmp_path)), theirs("7", TAG, str(tmp_path))]
    assert ready.look(served, 5)[0] == "none"
    slurm.jobs = [*slurm.jobs, own("7", TAG, str(tmp_path))]
    assert [(job.id, job.node) for job in ready.jobs(served)] == [("7", "n1")]


@pytest.mark.parametrize(
    ("state", "printed"),
    [
        ("", "not ready: it has no job in the queue\n"),
        ("PENDING", "not ready: starting\n"),
        ("FAILED", "not ready: its job is dead\n"),
    ],
)
def test_what_a_probe_prints_of_a_job(
    state: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm, served = by_slurm(tmp_path, monkeypatch)
    slurm.jobs = [theirs("9", TAG, str(tmp_path)), *([own("7", TAG, str(tmp_path), state=state)] if state else [])]
    ready.probe(served, 5)
    assert capsys.readouterr().out == printed


def test_a_queue_that_can_not_be_read_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm, served = by_slurm(tmp_path, monkeypatch)
    slurm.stop()
    ready.probe(served, 5)
    assert capsys.readouterr().out.startswith("unknown: squeue failed slurm_load_jobs error: Unable to contact")


def test_a_queued_job_is_looked_at_less_and_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm, served = by_slurm(tmp_path, monkeypatch)
    slurm.jobs = [own("7", TAG, str(tmp_path), state="PENDING")]
    monkeypatch.setattr(ready, "POLL_S", 0.02)
    monkeypatch.setattr(ready, "QUEUED_POLL_S", 0.5)

    def end() -> None:
        slurm.jobs = [own("7", TAG, str(tmp_path), state="FAILED")]

    timer = threading.Timer(3, end)
    timer.start()
    with pytest.raises(SystemExit, match="job 7 is FAILED before it was ready"):
        ready.wait(served, 0.1)  # less than it is queued: the time in the queue does not count
    timer.join()
    assert 3 <= len(slurm.asked) <= 16, "at the first delay it were a hundred"


def test_what_takes_long_is_shown_again_and_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However long the delay between two looks is."""
    monkeypatch.setattr(ready, "SHOW_S", 0.2)
    began = time.monotonic()
    shown = ready.show("queued", began, ("", 0.0), began + 1.5)
    lines = capsys.readouterr().out.splitlines()
    assert 2 <= len(lines) <= 9
    assert lines[0] == "\x1fqueued (0 s)"
    assert ready.show("queued", began, ("queued", time.monotonic()), time.monotonic() + 0.1)[0] == shown[0]
    assert capsys.readouterr().out == ""
