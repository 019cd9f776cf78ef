"""Every stack file becomes a stack, and stays as it is in git."""

import os
import subprocess
from pathlib import Path

import pytest

from tools import activation, stacks
from tools.places import ROOT
from tools.progress import SetupFailed

pytestmark = pytest.mark.pulumi

ODD = """\
# a comment, first
config:
  slipway:time:   '24:00:00'   # quoted
  slipway:release: 1.20

  slipway:engine: {name: vllm, args: {max-model-len: 65536}}
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A backend of this test's own, with the default passphrase."""
    for name in ("state", "home", "stacks"):
        (tmp_path / name).mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: throwaway\nruntime: python\nstackConfigDir: stacks\n")
    base = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    own = {"PULUMI_BACKEND_URL": f"file://{tmp_path}/state", "PULUMI_HOME": str(tmp_path / "home")}
    return activation.environment({**base, **own})


def ensure(env: dict[str, str], root: Path) -> list[str]:
    return stacks.ensure(env, root=root, folder=root / "stacks")


def test_a_new_stack_file_gets_its_salt_and_nothing_else(env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "stacks" / "Pulumi.odd.yaml"
    file.write_text(ODD)
    assert ensure(env, tmp_path) == ["odd"]
    first = file.read_text()
    head, salt = first[: len(ODD)], first[len(ODD) :]
    assert head == ODD
    assert salt.startswith("encryptionsalt: v1:")
    assert salt.count("\n") == 1
    assert ensure(env, tmp_path) == []
    assert file.read_text() == first
    file.write_text(ODD)  # a stack file from before, whose stack is there
    assert ensure(env, tmp_path) == ["odd"]
    assert file.read_text().startswith(f"{ODD}encryptionsalt: v1:")


def test_a_file_that_has_a_salt_is_left_alone(env: dict[str, str], tmp_path: Path) -> None:
    text = f"{stacks.new_salt(env)}\n{ODD}"
    for name in ("one", "two"):
        (tmp_path / "stacks" / f"Pulumi.{name}.yaml").write_text(text)
    assert ensure(env, tmp_path) == ["one", "two"]
    assert {file.read_text() for file in (tmp_path / "stacks").iterdir()} == {text}


def test_the_selected_stack_and_those_that_are_up(env: dict[str, str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "stacks" / f"Pulumi.{name}.yaml").write_text(ODD)
    ensure(env, tmp_path)
    assert stacks.selected_and_up(env, root=tmp_path) == ("", ())
    subprocess.run(["pulumi", "stack", "select", "two"], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert stacks.selected_and_up(env, root=tmp_path) == ("two", ())


def test_another_passphrase_is_told_what_to_do(env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "stacks" / "Pulumi.odd.yaml"
    file.write_text(f"{ODD}{stacks.new_salt(env)}\n")
    mine = {**env, "PULUMI_CONFIG_PASSPHRASE": "mine"}
    with pytest.raises(SetupFailed, match="incorrect passphrase") as caught:
        ensure(mine, tmp_path)
    assert "delete that line" in str(caught.value)
    file.write_text(ODD)
    assert ensure(mine, tmp_path) == ["odd"]


def test_every_shipped_stack_is_there_and_git_sees_no_change() -> None:
    env = activation.environment(os.environ)
    assert stacks.unready(env) == []
    status = ["git", "status", "--porcelain", "--", "stacks"]
    changed = subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "encryptionsalt" not in changed
