"""The plan as text and as the fixed JSON; made without a network."""

import json
import shlex
import subprocess
from dataclasses import replace

import pytest

from infra import spec, view
from infra.deployment import Parallelism
from infra.launchers import LAUNCHERS
from tests.unit.stacks import shipped

KEYS = {"stack", "fleet", "engine", "release", "launcher", "ranks", "command", "stages", "problems"}


@pytest.mark.parametrize("stack", spec.stacks())
def test_the_fixed_shape(stack: str) -> None:
    plan = json.loads(json.dumps(view.plan_json(spec.load(stack))))
    assert set(plan) >= KEYS
    for rank in plan["ranks"]:
        assert set(rank) == {"rank", "host", "gpus", "role", "env", "argv"}
        assert all(isinstance(word, str) for word in rank["argv"])
    names = [stage["name"] for stage in plan["stages"]]
    assert names[0] == "claim"
    if LAUNCHERS[plan["launcher"]].built:
        assert names[-2:] == ["launch", "ready"]
        assert plan["stages"][-1]["hosts"] == {"login": [f"endpoint:{stack}"]}
    else:
        assert names[-1] == "launch"
        assert plan["stages"][-1]["hosts"] == {"login": ["requirement:launcher"]}


@pytest.mark.parametrize("stack", spec.stacks())
def test_text_fits_a_screen_of_100_columns(stack: str) -> None:
    text = view.plan_text(spec.load(stack))
    wide = [line for line in text.splitlines() if len(line) > view.WIDTH]
    assert [line for line in wide if len(shlex.split(line.removesuffix("\\"))) > 2] == []  # one word can't be cut
    assert text.startswith(f"{stack}: ")
    assert ("vllm serve " in text) is (spec.load(stack).engine == "vllm")


def test_the_line_to_type_is_the_rank_less_what_slipway_adds() -> None:
    d = shipped("lab")
    line = view.by_hand(d)
    assert line.split(" vllm serve ")[0].split() == [f"{name}={value}" for name, value in sorted(d.env.items())]
    shown = subprocess.run(
        ["bash", "-c", f"vllm() {{ printf '%s\\n' vllm \"$@\"; }}; {line}"], capture_output=True, text=True, check=True
    )
    plan = json.loads(json.dumps(view.plan_json(d)))
    assert shown.stdout.splitlines() == plan["ranks"][0]["argv"]


def test_no_secret_is_shown() -> None:
    plan = json.loads(json.dumps(view.plan_json(shipped("dgx-h200"))))
    assert plan["ranks"][0]["env"]["VLLM_API_KEY"] == "(secret api-key)"
    assert "VLLM_API_KEY" not in plan["command"]


def test_hosts_of_ranks() -> None:
    d = shipped("dgx-h200")
    assert json.loads(json.dumps(view.plan_json(d)))["ranks"][0]["host"] == "any of dgx1, dgx2"
    two = json.loads(json.dumps(view.plan_json(replace(d, parallelism=Parallelism(tensor=16)))))
    assert [(rank["host"], rank["role"], rank["gpus"]) for rank in two["ranks"]] == [
        ("dgx1", "head", list(range(8))),
        ("dgx2", "follower", list(range(8))),
    ]


def test_a_warning_is_in_both() -> None:
    d = spec.load("dgx-h200")
    d = replace(d, software=replace(d.software, lock=""), warnings=tuple(spec.not_locked(replace(d.software, lock=""))))
    assert "no conda.lock" in view.plan_text(d)
    (problem,) = json.loads(json.dumps(view.plan_json(d)))["problems"]
    assert (problem["level"], problem["where"]) == ("warning", "$.environment")
    assert set(problem) == {"level", "rule", "where", "token", "found", "wanted", "why", "fix", "source"}
