"""The kinds of document that people have: each command is found at its line, with the words that the engine gets."""

from pathlib import Path

import pytest

from infra.lint.read import read

HERE = Path(__file__).parent / "documents"


def found(text: str, name: str = "-") -> list[tuple[int, str]]:
    return [(launch.line, " ".join(token.text for token in launch.found.words)) for launch in read(text, name).launches]


DOCUMENTS: dict[str, list[tuple[int, str]]] = {
    "README.md": [
        (8, "vllm serve a --p 1"),
        (12, "vllm serve b --q"),
        (15, "vllm serve c --r"),
        (23, "vllm serve e --s"),
    ],
    "shared-variables.md": [
        (6, "vllm serve /m"),
    ],
    "guide.rst": [
        (6, "vllm serve a --x 1"),
        (12, "trtllm-serve b --y"),
    ],
    "pods.yaml": [
        (7, "vllm serve --model m --port=80"),
        (14, "python3 -m sglang.launch_server --model-path /m --tp 8"),
        (24, "vllm serve m --a 1"),
    ],
    "chart.yaml": [
        (4, "vllm serve $(TEMPLATE) --port $(TEMPLATE)"),
    ],
    "docker-compose.yml": [
        (4, "vllm serve --model m --port 80"),
        (8, "python3 -m sglang.launch_server --model-path m"),
        (12, "vllm serve m --x"),
        (16, "python3 -m sglang.launch_server --model-path m --port 30000"),
        (21, "vllm serve --model m"),
    ],
    "workflow.yml": [
        (5, "vllm serve m --x 1"),
    ],
    "exec.dockerfile": [
        (6, "vllm serve m --x"),
    ],
    "shell.dockerfile": [
        (3, "vllm serve m --port 80"),
    ],
    "image.dockerfile": [
        (2, "vllm serve --model m"),
    ],
    "vllm.service": [
        (3, "/opt/bin/vllm serve /m --port 80${UNIT_i}"),
    ],
    "apply.sh": [
        (5, "vllm serve m"),
    ],
    "piped.sh": [
        (5, "vllm serve m"),
    ],
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(name: str) -> None:
    assert found((HERE / name).read_text(encoding="utf-8"), name) == DOCUMENTS[name]


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if not name.endswith((".service", ".sh"))])
def test_documents_are_told_without_their_names(name: str) -> None:
    assert found((HERE / name).read_text(encoding="utf-8")) == DOCUMENTS[name]


def test_one_line_of_input() -> None:
    assert found("vllm serve m --a") == [(1, "vllm serve m --a")]


GUIDE = """model: m
guide: |
  What the checkpoint's maker says of `vllm serve m --x`:

  ```bash
  vllm serve m \\
    --speculative-config '{"method": "mtp"}'
  ```
  It's enough.
"""


def test_prose_with_code_in_a_yaml_value() -> None:
    assert found(GUIDE, "m.yaml") == [(6, 'vllm serve m --speculative-config {"method": "mtp"}')]


def test_a_byte_order_mark() -> None:
    assert found("\ufeffvllm serve m", "run.sh") == [(1, "vllm serve m")]


SOURCES: dict[str, list[tuple[int, str, str]]] = {
    "kimi-k2-guide.md": [
        (7, "vllm", "vllm serve"),
        (18, "vllm", "vllm serve"),
        (21, "vllm", "vllm serve"),
        (26, "sglang", "sglang.launch_server"),
        (29, "sglang", "sglang.launch_server"),
        (35, "sglang", "sglang.launch_server"),
        (41, "sglang", "sglang.launch_server"),
        (44, "sglang", "sglang.srt.disaggregation.launch_lb"),
        (48, "kt-kernel", "ktransformers/server/main.py"),
        (52, "kt-kernel", "ktransformers/server/main.py"),
        (78, "trtllm", "trtllm-serve"),
    ],
    "kimi-k25-flat.md": [
        (1, "", "huggingface-cli download"),
        (1, "vllm", "vllm serve"),
        (1, "vllm", "benchmark_moe.py"),
        (1, "vllm", "vllm serve"),
        (1, "vllm", "vllm bench serve"),
    ],
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_commands_of_the_documents(name: str) -> None:
    document = read((HERE / name).read_text(encoding="utf-8"), name)
    commands = [(launch.line, launch.found.engine, launch.found.program) for launch in document.launches]
    assert commands == SOURCES[name]
