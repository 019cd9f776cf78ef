"""`.venv/bin/activate` gives a shell what Pulumi needs, keeps what the user has set, and takes its own back."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tools import activation
from tools.places import VENV

OWN = ("PULUMI_", "_SLIPWAY_")


def shell(script: str, env: Mapping[str, str], state: Path) -> dict[str, str]:
    """The environment at the end of a script, run by `sh` with unset variables being errors."""
    base = {"HOME": str(state / "nobody"), "PATH": os.environ["PATH"], "SLIPWAY_STATE": str(state)}
    argv = ["sh", "-euc", f". '{activation.ACTIVATE}'\n{script}\nenv -0"]
    done = subprocess.run(argv, env={**base, **env}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def pulumis(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(OWN)}


CASES: dict[str, tuple[dict[str, str], dict[str, str | None]]] = {
    "nothing set": (
        {},
        {
            "PULUMI_BACKEND_URL": "file://{state}/pulumi",
            "PULUMI_HOME": "{state}/home",
            "PULUMI_CONFIG_PASSPHRASE": activation.DEFAULT_PASSPHRASE,
        },
    ),
    "own backend, so own login": (
        {"PULUMI_BACKEND_URL": "s3://ours"},
        {"PULUMI_BACKEND_URL": "s3://ours", "PULUMI_HOME": None},
    ),
    "own home": ({"PULUMI_HOME": "/home/of/mine"}, {"PULUMI_HOME": "/home/of/mine"}),
    "own passphrase": ({"PULUMI_CONFIG_PASSPHRASE": "mine"}, {"PULUMI_CONFIG_PASSPHRASE": "mine"}),
    "own empty passphrase": ({"PULUMI_CONFIG_PASSPHRASE": ""}, {"PULUMI_CONFIG_PASSPHRASE": ""}),
    "own passphrase file": (
        {"PULUMI_CONFIG_PASSPHRASE_FILE": "/run/pass"},
        {"PULUMI_CONFIG_PASSPHRASE_FILE": "/run/pass", "PULUMI_CONFIG_PASSPHRASE": None},
    ),
}


@pytest.mark.parametrize(("given", "wanted"), CASES.values(), ids=CASES.keys())
def test_activate_sets_only_what_the_user_has_not(
    given: dict[str, str], wanted: dict[str, str | None], tmp_path: Path
) -> None:
    found = shell("", given, tmp_path)
    for name, value in wanted.items():
        assert found.get(name) == (None if value is None else value.format(state=tmp_path))
    assert found["PULUMI_SKIP_UPDATE_CHECK"] == "true"
    assert found["PATH"].startswith(f"{VENV}/bin:")


@pytest.mark.parametrize(("given", "wanted"), CASES.values(), ids=CASES.keys())
def test_tools_get_the_environment_of_an_activated_shell(
    given: dict[str, str], wanted: dict[str, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_STATE", str(tmp_path))
    found = activation.environment({"PATH": os.environ["PATH"], **given})
    activated = shell("", given, tmp_path)
    assert wanted
    assert pulumis(found) == pulumis(activated)
    assert found["VIRTUAL_ENV"] == activated["VIRTUAL_ENV"]
    assert found["PATH"].split(":")[:2] == activated["PATH"].split(":")[:2]


def test_deactivate_takes_back_what_activate_set(tmp_path: Path) -> None:
    given = {"PULUMI_HOME": "/home/of/mine"}
    found = shell("deactivate", given, tmp_path)
    assert pulumis(found) == given
    assert found["PATH"] == os.environ["PATH"]


def test_activating_twice_is_activating_once(tmp_path: Path) -> None:
    assert shell(f". '{activation.ACTIVATE}'", {}, tmp_path) == shell("", {}, tmp_path)


def test_our_lines_come_out_whole() -> None:
    text = (
        f"before\n{activation.DEACTIVATE}\n{activation.removal()}\nafter\n{activation.addition(Path('/a folder/bin'))}"
    )
    assert activation.without_ours(text) == f"before\n{activation.DEACTIVATE}\nafter\n"
