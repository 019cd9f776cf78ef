"""The stack that a command means is found by what the files say; only that one is proven."""

from pathlib import Path

import pytest

from hosts.errors import InputError
from infra import spec
from infra.operate.choose import Known, choose, matching

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
    ({"engine": "vlm"}, "found no match, .*did you mean --engine vllm"),
    ({"engine": "nope"}, r"no stack has the engine nope, but sglang, vllm.*; name one with -s; there are: bare, dgx"),
    ({"model": "kimi-k2.55"}, "did you mean --model kimi-k2.5"),
    ({"engine": "vllm", "fleet": "dgx-h20"}, "did you mean --fleet dgx-h200"),
    ({"engine": "sglang", "fleet": "dgx-h200"}, "found no match"),
    ({"engine": "nope"}, "stacks that can't be read: bare, list, tab"),
    ({"engine": "sglang"}, r"\$\.engine\.release: found 'banana'"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED)
def test_none_or_several(words: dict[str, str], says: str, folder: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        matching(**asked(words), folder=folder)
    assert str(caught.value).count("dgx,") <= 1, "each stack is listed once"


def never() -> Known:
    raise AssertionError("Pulumi need not be asked")


MEANT: list[tuple[str, Known, str, str]] = [
    ("lab", Known(selected="dgx", up=("dgx",)), "lab", "SLIPWAY_STACK"),
    ("", Known(selected="dgx", up=("lab",)), "dgx", "pulumi stack select"),
    ("", Known(selected="elsewhere", up=("lab",)), "lab", "the only one that is up"),
    ("", Known(up=("elsewhere", "lab")), "lab", "the only one that is up"),
]


@pytest.mark.parametrize(("variable", "known", "stack", "why"), MEANT)
def test_the_stack_of_a_command_that_names_none(
    variable: str, known: Known, stack: str, why: str, folder: Path
) -> None:
    found = choose(variable, lambda: known, folder)
    assert found.stack == stack
    assert why in found.why


def test_the_default_of_several(folder: Path) -> None:
    """A default comes before what is up, and after what is selected; two defaults are none."""
    (folder / "Pulumi.dgx.yaml").write_text(DGX.replace("config:", DEFAULT, 1))
    assert choose("", lambda: Known(up=("lab",)), folder).stack == "dgx"
    assert choose("", lambda: Known(selected="lab"), folder).stack == "lab"
    assert matching(engine="vllm", model="", fleet="", folder=folder).stack == "dgx"
    (folder / "Pulumi.lab.yaml").write_text(LAB.replace("config:", DEFAULT, 1))
    with pytest.raises(InputError, match="with slipway:default: dgx, lab"):
        choose("", Known, folder)


@pytest.mark.parametrize("known", [Known(), Known(up=("dgx", "lab"))])
def test_none_comes_into_question(known: Known, folder: Path) -> None:
    with pytest.raises(InputError, match=r"no stack named.*set SLIPWAY_STACK") as caught:
        choose("", lambda: known, folder)
    assert str(caught.value).count("wrong") == 1, "each stack is listed once"
    assert f"up: {', '.join(known.up) or 'none'}" in str(caught.value)


def test_the_only_one_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.only.yaml").write_text(DGX)
    assert choose("", never, tmp_path).stack == "only"
    assert choose("another", never, tmp_path).stack == "another", "its absence is reported when it is loaded"
    assert matching(engine="", model="", fleet="", folder=tmp_path).stack == "only"
