"""Every key that the parsers take is in docs/reference.md, and no message shows a regular expression."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts import fleet
from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import parse_yaml
from infra import spec, stack_file
from tests.unit.stacks import environments, inventory

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
UNKNOWN = "no-such-key"

FLEET = """
slurm: existing
no-such-key: 1
storage: {path: /s, no-such-key: 1}
limits: {no-such-key: 1}
kubernetes: {namespace: n, volume: v, no-such-key: 1, quota: {no-such-key: 1}}
hosts:
  login: {role: login, address: a, user: u, sudo: false, no-such-key: 1, gpus: {count: 8, model: m, no-such-key: 1}}
"""
STACK = """
config:
  slipway:no-such-key: 1
  slipway:fleet: ours
  slipway:model: kimi-k2
  slipway:engine: {name: sglang, release: "0.5.23", no-such-key: 1}
  slipway:launcher: {name: slurm, time: "1:00:00", no-such-key: 1}
  slipway:roles:
    prefill: {nodes: 1, no-such-key: 1, parallelism: {no-such-key: 1}}
    decode: {nodes: 1}
  slipway:router: {name: sglang-router, release: "0.3.2", no-such-key: 1}
  slipway:endpoint: {no-such-key: 1, tls: {certificate: /c, key: /k, no-such-key: 1}}
  slipway:environment: engine
"""


def fleet_problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as caught:
        fleet.parse("f", parse_yaml(text), "f.yaml")
    return tuple(caught.value.problems)


def stack_problems(text: str, tmp_path: Path) -> tuple[Problem, ...]:
    folders = tmp_path / "inventory", tmp_path / "environments"
    for folder in folders:
        folder.mkdir()
    with pytest.raises(InputError) as caught:
        spec.parse("s", parse_yaml(text), "s.yaml", inventory=inventory(folders[0]), envs=environments(folders[1]))
    return tuple(caught.value.problems)


def keys(problems: tuple[Problem, ...]) -> Iterator[tuple[str, str]]:
    """(`$.path` of a mapping, a key that it takes), as the parsers' own messages list them."""
    for problem in problems:
        if problem.where.endswith(f".{UNKNOWN}"):
            for key in problem.wanted.removeprefix("one of ").split(", "):
                yield problem.where.removesuffix(f".{UNKNOWN}"), key


def section(title: str) -> str:
    """The part of the document below a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str) -> set[str]:
    """What the first columns of its tables name."""
    return {name for row in re.findall(r"^\| (.+?) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}


FLEET_PLACES = {
    "$": "",
    "$.storage": "storage.",
    "$.limits": "limits.",
    "$.kubernetes": "kubernetes.",
    "$.kubernetes.quota": "kubernetes.quota.",
    "$.hosts.login": "hosts.NAME.",
    "$.hosts.login.gpus": "hosts.NAME.gpus.",
}
STACK_PLACES = {
    "$": "",
    "$.engine": "engine.",
    "$.launcher": "launcher.",
    "$.roles.prefill": "roles.ROLE.",
    "$.roles.prefill.parallelism": "parallelism.",
    "$.router": "router.",
    "$.endpoint": "endpoint.",
    "$.endpoint.tls": "endpoint.tls.",
}


def test_every_key_of_a_fleet_file_is_documented() -> None:
    found = set(keys(fleet_problems(FLEET)))
    assert {place for place, _ in found} == set(FLEET_PLACES)
    wanted = {FLEET_PLACES[place] + key for place, key in found}
    assert wanted == rows(section("Fleet files"))


def test_every_key_of_a_stack_file_is_documented(tmp_path: Path) -> None:
    found = set(keys(stack_problems(STACK, tmp_path)))
    assert {place for place, _ in found} == set(STACK_PLACES)
    wanted = {"slipway:" + STACK_PLACES[place] + key for place, key in found}
    wanted |= {f"slipway:secrets.{name}" for name in stack_file.SECRETS}
    assert wanted == rows(section("Stack files"))


WRONG_FLEET = """
slurm: existing
partition: -x
storage: {path: shared}
known_hosts: 1
identity: 1
price_per_gpu_hour: 2.5
wheels: wheels
images: images
limits: {max_time: soon}
kubernetes: {namespace: N, volume: V, node_selector: 1}
hosts:
  N1: {}
  login:
    {role: login, address: "a b", user: "a b", jump: "-", host_key: k, interface: " ", hcas: 1, cpu_flags: 1,
     sudo: false, gpus: {count: 1, model: 1, memory_mib: 80000, device: nvidia}}
"""
WRONG_STACK = """
config:
  slipway:fleet: ours
  slipway:model: kimi-k2
  slipway:engine: {name: vllm, release: "v0.19.1", args: {--x: 1}, env: {x: 1}}
  slipway:launcher:
    {name: slurm, time: soon, partition: " ", account: " ", qos: " ", constraint: " ", nodelist: " ", mem: all,
     shm: all, devices: all}
  slipway:endpoint: {interface: " ", tls: {certificate: c.pem, key: k.pem}}
  slipway:experts: " "
  slipway:environment: engine
"""
EXPRESSION = re.compile(r"\(\?|\[\^|\[[a-zA-Z0-9]-[a-zA-Z0-9]|\\[dswx]|\]\*|\]\+|\)\*|\)\+|\{\d+,\d*\}")
"""What no text for people has."""


def test_messages_have_words_for_what_they_want(tmp_path: Path) -> None:
    problems = (*fleet_problems(WRONG_FLEET), *stack_problems(WRONG_STACK, tmp_path))
    assert len(problems) > 30
    assert [str(problem) for problem in problems if EXPRESSION.search(problem.wanted)] == []


def test_every_kind_of_text_has_words() -> None:
    """Also where this test writes no file: beside each pattern that a reader takes there are words."""
    sources = [path for folder in ("hosts", "infra", "roles", "lab", "tools") for path in (ROOT / folder).rglob("*.py")]
    shown = re.compile(r"\{[A-Za-z_.]*\.pattern\}|wanted=[A-Za-z_.]*\.pattern")
    assert len(sources) > 100
    assert [str(path) for path in sources if shown.search(path.read_text(encoding="utf-8"))] == []
    written = re.compile(r'wanted=f?r?"((?:[^"\\]|\\.)*)"')
    words = [(path.name, text) for path in sources for text in written.findall(path.read_text(encoding="utf-8"))]
    assert len(words) > 100
    assert [(name, text) for name, text in words if EXPRESSION.search(text)] == []
