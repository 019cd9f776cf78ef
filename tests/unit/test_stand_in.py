"""The stand-in engines: what they refuse, what they answer, and how their processes depend on one another."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from infra.environments import FOLDER
from infra.flags import table as flag_table
from lab import wheels
from lab.stand_in import arguments, install, llm_args

PATIENCE_S = 10.0
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}


def table(name: str) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads((flag_table.FOLDER / name).read_text(encoding="utf-8"))
    return loaded


SGLANG = [
    ("", "the following arguments are required: --model-path/--model"),
    ("--model-path m --prot 1", "unrecognized arguments: --prot 1"),
    ("--model-path m --port abc", "argument --port: invalid int value: 'abc'"),
    ("--model-path m --disaggregation-mode both", "invalid choice: 'both' (choose from"),
    ("--model-path m --max-total-tokens 3z", "invalid human_readable_int value: '3z'"),
    ("--model-path m --disaggregation 1", "ambiguous option: --disaggregation could match --disaggregation-"),
    ("--model-path m --nnodes", "argument --nnodes: expected one argument"),
]


@pytest.mark.parametrize(("line", "said"), SGLANG)
def test_sglang_refuses_as_argparse_does(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = arguments.parser_of(table(install.SGLANG_TABLE), "launch_server.py")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(line.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_sglang_takes_abbreviations() -> None:
    line = "--model m --tensor 8 --max-total-tokens 64Ki --json-model-override-args {} --disaggregation-mode null"
    given = vars(arguments.parser_of(table(install.SGLANG_TABLE), "launch_server.py").parse_args(line.split()))
    assert (given["--model-path"], given["--tp-size"], given["--max-total-tokens"]) == ("m", 8, 65536)
    assert (given["--port"], given["--nnodes"], given["--disaggregation-bootstrap-port"]) == (30000, 1, 8998)


TRTLLM = [
    ("", "Missing argument 'MODEL'."),
    ("m --tp_siz 2", "No such option: --tp_siz (Possible options: --ep_size, --pp_size, --tp_size)"),
    ("m --tensor_parallel 2", "No such option: --tensor_parallel (Possible options: "),
    ("m --max_batchsize 2", "No such option: --max_batchsize Did you mean --max_batch_size?"),
    ("m -p 2", "No such option: -p"),
    ("m --port x", "Invalid value for '--port': 'x' is not a valid integer."),
    ("m --backend foo", "Invalid value for '--backend': 'foo' is not one of 'pytorch', 'tensorrt', '_autodeploy'."),
    ("m --grpc=1", "Option '--grpc' does not take a value."),
    ("m --port", "Option '--port' requires an argument."),
    ("m x y", "Got unexpected extra arguments (x y)"),
]


@pytest.mark.parametrize(("line", "said"), TRTLLM)
def test_trtllm_refuses_as_click_does(line: str, said: str) -> None:
    with pytest.raises(arguments.Refused) as refused:
        arguments.read_click(table(install.TRTLLM_TABLE), line.split())
    assert said in str(refused.value)


def test_trtllm_takes_options_anywhere() -> None:
    line = "--tp_size 16 m --grpc --custom_module_dirs a --custom_module_dirs=b"
    given, positional = arguments.read_click(table(install.TRTLLM_TABLE), line.split())
    assert positional == ["m"]
    assert (given["--tensor_parallel_size"], given["--port"], given["--grpc"]) == (16, 8000, True)
    assert given["--custom_module_dirs"] == ["a", "b"]


YAML = [
    ("max_batch_size: 8\nkv_cache_config: {free_gpu_memory_fraction: 0.8}\nmoe_config: {backend: CUTLASS}\n", ""),
    ("nonsense: 1\n", "1 validation error for TorchLlmArgs\nnonsense\n  Extra inputs are not permitted"),
    ("kv_cache_config: {nonsense: 1}\n", "kv_cache_config.nonsense\n  Extra inputs are not permitted"),
    ("max_batch_size: x\nstream_interval: 1.5\n", "2 validation errors"),
    ("tokenizer_mode: quick\n", "Input should be 'auto' or 'slow', got 'quick'"),
    ("pp_partition: [1, two]\n", "pp_partition"),
    ("- 1\n", "found list, wanted a mapping"),
    ("a: [\n", "can't be read"),
]


@pytest.mark.parametrize(("text", "said"), YAML)
def test_trtllms_yaml(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "trtllm.yaml"
    path.write_text(text)
    if not said:
        assert llm_args.read(str(path), table(install.TRTLLM_TABLE))["max_batch_size"] == 8
        return
    with pytest.raises(SystemExit) as ended:
        llm_args.read(str(path), table(install.TRTLLM_TABLE))
    assert said in str(ended.value.code)


def test_the_wheel_is_the_same_everywhere_and_pinned(tmp_path: Path) -> None:
    first = install.build_wheel(tmp_path).read_bytes()
    wheel = install.build_wheel(tmp_path)
    assert wheel.read_bytes() == first
    pins = {pin.name: pin for pin in wheels.pins((FOLDER / "sglang-0.5.23-lab/requirements.txt").read_text())}
    what_to_do = "a stand-in or its flag table has changed: run python -m lab.stand_in.install FOLDER"
    assert pins["sglang"].sha256 == wheels.sha256(wheel), what_to_do


@dataclass(frozen=True)
class Installed:
    """The stand-ins as they are installed, and a model."""

    sglang: Path
    root: Path
    model: str


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("stand-in")
    with zipfile.ZipFile(install.build_wheel(folder)) as wheel:
        wheel.extractall(folder / "sglang")
    install.install_trtllm(folder / "root")
    (folder / "tiny").mkdir()
    (folder / "tiny/config.json").write_text("{}")
    return Installed(sglang=folder / "sglang", root=folder / "root", model=str(folder / "tiny"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def started(argv: Sequence[str], library: Path, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that does not outlive the test."""
    env = {**os.environ, "PYTHONPATH": str(library), **variables}
    with subprocess.Popen(argv, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out


def ask(port: int, path: str, document: object = None, key: str = "") -> tuple[int, str, str]:
    """(status, body, header Server)."""
    link = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        body = None if document is None else json.dumps(document)
        link.request("GET" if body is None else "POST", path, body, headers)
        answer = link.getresponse()
        return answer.status, answer.read().decode(), answer.headers["Server"]
    finally:
        link.close()


def wait_for(port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            assert ask(port, "/health")[0] == 200
            return
        except OSError:
            assert time.monotonic() < end, f"nobody listens on {port}"
            time.sleep(0.02)


def sglang(it: Installed, port: int, *words: str) -> list[str]:
    argv = [sys.executable, "-m", "sglang.launch_server", "--model-path", it.model, "--served-model-name", "tiny"]
    return [*argv, "--port", str(port), *words]


def ranks(it: Installed, port: int, tp_size: int) -> tuple[list[str], Path]:
    programs, library = it.root / "usr/local/bin", it.root / "usr/local/lib" / install.PACKAGE
    serve = ["trtllm-serve", "serve", it.model, "--host", "127.0.0.1", "--port", str(port), "--tp_size", str(tp_size)]
    return [
        sys.executable,
        str(programs / "trtllm-llmapi-launch"),
        sys.executable,
        str(programs / serve[0]),
        *serve[1:],
    ], library


def test_trtllms_ranks_serve_together_and_end_together(installed: Installed) -> None:
    port, size = free_port(), 3
    argv, library = ranks(installed, port, size)
    with ExitStack() as stack:
        world = [
            stack.enter_context(
                started(
                    argv, library, OMPI_COMM_WORLD_RANK=str(rank), OMPI_COMM_WORLD_SIZE=str(size),
                    OMPI_COMM_WORLD_LOCAL_RANK=str(rank), OMPI_MCA_orte_hnp_uri="1.0;tcp://127.0.0.1:1",
                    PMIX_NAMESPACE="1",
                )
            )
            for rank in range(size)
        ]  # fmt: skip
        wait_for(port)
        status, body, server = ask(port, "/v1/chat/completions", CHAT)
        assert (status, server) == (200, "stand-in trtllm-serve/1.3.0rc3")
        answer = json.loads(body)
        assert answer["usage"]["completion_tokens"] == 4
        assert answer["system_fingerprint"] == "stand-in"
        assert answer["choices"][0]["message"]["content"].startswith("stand-in ")
        assert json.loads(ask(port, "/v1/models")[1])["data"][0]["id"] == "tiny"
        streamed = ask(port, "/v1/completions", {"model": "tiny", "prompt": "x", "max_tokens": 3, "stream": True})[1]
        assert streamed.count("data: {") == 3
        assert streamed.endswith("data: [DONE]\n\n")
        assert ask(port, "/v1/completions", {"model": "tiny"})[0] == 400
        world[2].kill()
        code, log = ended(world[0])
        assert code == 1
        assert f"error: rank 2 on {socket.gethostname()} was lost" in log
        assert re.search(r"stand-in trtllm-serve: .*rank 0 of 3 on \S+: local rank 0, GPU devices ", log)
        assert ended(world[1])[0] == 1


def test_trtllm_counts_its_ranks(installed: Installed) -> None:
    argv, library = ranks(installed, free_port(), 8)
    with started(argv, library, OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="2") as process:
        code, log = ended(process)
    assert code == 1
    assert "world size 2 is not tp_size 8 x pp_size 1 = 8" in log


def test_sglangs_nodes_serve_together_and_end_in_order(installed: Installed) -> None:
    port, head = free_port(), f"127.0.0.1:{free_port()}"
    words = ("--tp-size", "2", "--nnodes", "2", "--dist-init-addr", head, "--api-key", "secret")
    first, second = (sglang(installed, port, *words, "--node-rank", str(rank)) for rank in (0, 1))
    with started(second, installed.sglang) as other, started(first, installed.sglang) as lead:
        wait_for(port)
        assert ask(port, "/v1/chat/completions", CHAT, key="wrong")[0] == 401
        assert ask(port, "/v1/chat/completions", CHAT, key="secret")[0] == 200
        info = json.loads(ask(port, "/get_server_info", key="secret")[1])
        assert (info["version"], info["stand_in"], info["nnodes"]) == ("0.5.23+standin", True, 2)
        began = time.monotonic()
        lead.send_signal(signal.SIGTERM)
        assert ended(lead)[0] == 0
        assert time.monotonic() - began < 1
        assert ended(other)[0] == 0


def test_a_lost_node_ends_the_first_whoever_still_reads_its_log(installed: Installed) -> None:
    port, head = free_port(), f"127.0.0.1:{free_port()}"
    words = ("--tp-size", "2", "--nnodes", "2", "--dist-init-addr", head)
    first, second = (sglang(installed, port, *words, "--node-rank", str(rank)) for rank in (0, 1))
    with started(second, installed.sglang) as other, started(first, installed.sglang) as lead:
        wait_for(port)
        assert lead.stdout
        lead.stdout.close()
        other.kill()
        assert lead.wait(timeout=PATIENCE_S) == 1


def test_decode_answers_with_the_kv_of_its_prefill_alone(installed: Installed) -> None:
    prefill, decode, rooms = free_port(), free_port(), free_port()
    words = ("--disaggregation-bootstrap-port", str(rooms), "--disaggregation-mode")
    request = {**CHAT, "bootstrap_host": "127.0.0.1", "bootstrap_port": rooms, "bootstrap_room": 7}
    with (
        started(sglang(installed, decode, *words, "decode"), installed.sglang) as behind,
        started(sglang(installed, prefill, *words, "prefill"), installed.sglang),
    ):
        wait_for(prefill)
        wait_for(decode)
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(ask, port, "/v1/chat/completions", request) for port in (decode, prefill)]
        answers = [json.loads(one.result()[1])["usage"]["completion_tokens"] for one in asked]
        assert answers == [4, 1]
        status, body, _ = ask(decode, "/v1/chat/completions", CHAT)
        assert status == 400
        assert "send it through the router" in body
        status, body, _ = ask(decode, "/v1/chat/completions", {**request, "bootstrap_port": free_port()})
        assert status == 502
        assert "no KV transfer from the prefill at 127.0.0.1" in body
        behind.send_signal(signal.SIGTERM)
        assert "room 7: got its KV from" in ended(behind)[1]


def test_a_line_that_is_refused_ends_with_2(installed: Installed) -> None:
    programs, library = installed.root / "usr/local/bin", installed.root / "usr/local/lib" / install.PACKAGE
    with started([sys.executable, str(programs / "trtllm-serve"), "m", "--no_such_thing"], library) as process:
        code, said = ended(process)
    usage = "Usage: trtllm-serve serve [OPTIONS] MODEL\nTry 'trtllm-serve serve --help' for help.\n\n"
    assert (code, said) == (2, f"{usage}Error: No such option: --no_such_thing\n")
