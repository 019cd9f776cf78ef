"""The stack that a command means is found by what the files say; only that one is proven."""

from pathlib import Path

import pytest

from hosts.errors import InputError
from infra import spec
from infra.operate.choose import matching, stack_of

LAB = (spec.STACKS / "Pulumi.lab.yaml").read_text(encoding="utf-8")
DGX = (spec.STACKS / "Pulumi.dgx-h200.yaml").read_text(encoding="utf-8")
DEFAULT = "config:\n  slipway:default: true"
WRONG = "config:\n  slipway:engine: {name: sglang, release: banana}\n  slipway:model: kimi-k2\n  slipway:fleet: lab\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two stacks of vLLM, one of SGLang with nothing right in it, and three files that are no stack's."""
    texts = {"lab": LAB, "dgx": DGX, "wrong": WRONG, "tab": "a:\n\tb: 1\n", "list": "[]\n", "bare": "config: 1\n"}
    for name, text in texts.items():
        (tmp_path / f"Pulumi.{name}.yaml").write_text(text)
    return tmp_path


FOUND: list[tuple[dict[str, str], str]] = [
    ({"fleet": "dgx-h200"}, "dgx"),
    ({"model": "kimi-k2.5"}, "dgx"),
    ({"engine": "vllm", "fleet": "lab"}, "lab"),
]


def asked(words: dict[str, str]) -> dict[str, str]:
    return {"engine": "", "model": "", "fleet": ""} | words


@pytest.mark.parametrize(("words", "stack"), FOUND)
def test_the_one_that_matches(words: dict[str, str], stack: str, folder: Path) -> None:
    assert matching(**asked(words), folder=folder).stack == stack


REFUSED: list[tuple[dict[str, str], str]] = [
    ({}, "3 stacks that match: dgx, lab, wrong"),
    ({"engine": "vllm"}, "2 stacks that match: dgx, lab"),
    ({"engine": "vlm"}, "0 stacks that match: none, .*did you mean --engine vllm"),
    ({"engine": "nope"}, r"no stack has the engine nope, but sglang, vllm.*; name it with -s; there are: bare, dgx"),
    ({"model": "kimi-k2.55"}, "did you mean --model kimi-k2.5"),
    ({"engine": "vllm", "fleet": "dgx-h20"}, "did you mean --fleet dgx-h200"),
    ({"engine": "sglang", "fleet": "dgx-h200"}, "0 stacks that match: none"),
    ({"engine": "nope"}, "stacks that can't be read: bare, list, tab"),
    ({"engine": "sglang"}, r"\$\.engine\.release: found 'banana'"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED)
def test_none_or_several(words: dict[str, str], says: str, folder: Path) -> None:
    with pytest.raises(InputError, match=says):
        matching(**asked(words), folder=folder)


def test_the_default_of_several(folder: Path) -> None:
    with pytest.raises(InputError, match=r"0 stacks with slipway:default.*name it with -s"):
        stack_of("", folder)
    (folder / "Pulumi.dgx.yaml").write_text(DGX.replace("config:", DEFAULT, 1))
    assert stack_of("", folder).stack == "dgx"
    assert stack_of("lab", folder).stack == "lab"
    assert matching(engine="vllm", model="", fleet="", folder=folder).stack == "dgx"
    (folder / "Pulumi.lab.yaml").write_text(LAB.replace("config:", DEFAULT, 1))
    with pytest.raises(InputError, match="2 stacks with slipway:default"):
        stack_of("", folder)


def test_the_only_one_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.only.yaml").write_text(DGX)
    assert stack_of("", tmp_path).stack == "only"
    assert matching(engine="", model="", fleet="", folder=tmp_path).stack == "only"
