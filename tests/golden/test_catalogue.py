"""Every shipped stack through its launcher: the lines that a person would type, and the files that start its ranks."""

import subprocess
from dataclasses import replace

import pytest

from hosts.schema import parse_yaml
from infra import spec
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.placement import place
from tests.conftest import Golden
from tests.unit.stacks import SOFTWARE

STACKS = tuple(stack for stack in spec.stacks() if stack not in ("lab", "dgx-h200"))
"""Those two are in test_vllm_slurm.py."""


@pytest.mark.parametrize("stack", STACKS)
def test_rendering(stack: str, golden: Golden) -> None:
    d = spec.load(stack)
    d = d if d.image else replace(d, software=SOFTWARE)  # another lock is no other rendering
    engine, launcher, placed = ENGINES[d.engine], LAUNCHERS[d.launcher.name], place(d)
    files = launcher.files(d, placed, engine)
    lines = [f"{where}: {line}" for where, line in launcher.by_hand(d, placed, engine)]
    for line in lines:
        check(line.partition(": ")[2])
    for name, text in files.items():
        if name.endswith((".sh", ".sbatch")):
            check(text)
        elif name.endswith(".yaml"):
            assert isinstance(parse_yaml(text), dict)
    parts = [f"=== {name}\n{text}" for name, text in files.items()]
    golden(f"{d.engine}-{d.launcher.name}/{stack}.txt", "\n".join([*lines, "", *parts]))


def check(script: str) -> None:
    """A shell can read it."""
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("stack", STACKS)
def test_the_same_bytes_each_time(stack: str) -> None:
    d = spec.load(stack)
    engine, launcher, placed = ENGINES[d.engine], LAUNCHERS[d.launcher.name], place(d)
    assert launcher.files(d, placed, engine) == launcher.files(spec.load(stack), placed, engine)
    commands = launcher.commands(d, placed, engine)
    assert len(commands) == len(placed.ranks)
    assert not [command for command in commands if "sk-" in command.line()]
