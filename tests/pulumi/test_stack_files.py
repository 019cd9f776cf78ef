"""Our loader reads every shipped stack file as Pulumi does: the same keys, the same values, the same types."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hosts.schema import load_yaml
from tools import activation
from tools.places import ROOT, STACKS

pytestmark = pytest.mark.pulumi


@pytest.mark.parametrize("path", sorted(STACKS.glob("Pulumi.*.yaml")), ids=lambda p: p.name)
def test_read_as_pulumi_reads(path: Path, tmp_path: Path) -> None:
    """What `pulumi config --json` prints is what we parse."""
    stack = path.name.removeprefix("Pulumi.").removesuffix(".yaml")
    (tmp_path / "backend").mkdir()
    environment = activation.environment(
        os.environ | {"PULUMI_BACKEND_URL": f"file://{tmp_path}/backend", "PULUMI_HOME": str(tmp_path / "home")}
    )
    before = path.read_bytes()
    subprocess.run(
        ["pulumi", "stack", "init", stack, "-C", str(ROOT)], env=environment, capture_output=True, check=True
    )
    command = ["pulumi", "config", "--json", "-s", stack, "-C", str(ROOT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert path.read_bytes() == before, "pulumi rewrote the stack file"
    theirs = {key: value.get("objectValue", value.get("value")) for key, value in json.loads(done.stdout).items()}
    data: Any = load_yaml(path)
    ours = data["config"]
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        # a scalar at the top is text to Pulumi, whatever YAML says
        assert theirs[key] == (value if isinstance(value, dict | list) else _text(value)), key


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
