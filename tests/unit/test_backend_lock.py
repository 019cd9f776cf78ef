"""Locks of dead Pulumi processes on this machine go; all others stay."""

import json
from pathlib import Path

import pytest

from infra.operate.backend_lock import clear


def lock(backend: Path, stack: str, name: str, text: str) -> Path:
    path = backend / ".pulumi" / "locks" / "organization" / "slipway" / stack / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.with_name(f"{path.name}.attrs").write_text("{}")
    return path


def test_only_the_dead_of_this_machine(tmp_path: Path) -> None:
    dead = lock(tmp_path, "lab", "a", json.dumps({"pid": 7, "hostname": "here", "username": "me"}))
    alive = lock(tmp_path, "lab", "b", json.dumps({"pid": 8, "hostname": "here"}))
    elsewhere = lock(tmp_path, "lab", "c", json.dumps({"pid": 7, "hostname": "there"}))
    another = lock(tmp_path, "other", "d", json.dumps({"pid": 7, "hostname": "here"}))
    assert clear(f"file://{tmp_path}", "lab", hostname="here", alive=lambda pid: pid == 8) == [7]
    assert not dead.exists()
    assert not dead.with_name(f"{dead.name}.attrs").exists()
    assert all(path.exists() for path in (alive, elsewhere, another))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": "x", "hostname": "here"}', '{"pid": 7}'])
def test_what_can_not_be_read_stays(tmp_path: Path, text: str) -> None:
    path = lock(tmp_path, "lab", "a", text)
    assert clear(f"file://{tmp_path}", "lab", hostname="here", alive=lambda _: False) == []
    assert path.exists()


@pytest.mark.parametrize("url", ["", "https://pulumi.example", "s3://bucket", "file:///nowhere"])
def test_other_backends_are_left_alone(url: str) -> None:
    assert clear(url, "lab", hostname="here", alive=lambda _: False) == []
