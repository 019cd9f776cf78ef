"""The program that verifies weights, run as hosts run it: by its path, isolated, with the standard library alone."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hosts.programs import weights

PROGRAM = weights.__file__
INDEX = {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}


def shard(data: bytes = b"1234") -> bytes:
    """A safetensors file of one tensor."""
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.safetensors").write_bytes(shard())
    (folder / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    (folder / "config.json").write_text("{}")
    (folder / "code" / "read me.md").write_text("text")
    return folder


def manifest_lines(folder: Path) -> list[str]:
    return [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size} {path.relative_to(folder)}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in weights.IGNORED
    ]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", PROGRAM, *words], capture_output=True, text=True, check=False)


PROBLEMS: list[tuple[str, dict[str, bytes | None], list[str]]] = [
    ("nothing", {}, []),
    ("a shard", {"b.safetensors": None}, ["b.safetensors is missing"]),
    (
        "all",
        {"a.safetensors": None, "b.safetensors": None, "model.safetensors.index.json": None, "config.json": None},
        ["no safetensors file", "config.json is missing"],
    ),
    ("its end", {"a.safetensors": shard()[:-1]}, [f"a.safetensors has {len(shard()) - 1} bytes, its header says"]),
    ("more than its end", {"a.safetensors": shard() + b"x"}, [f"a.safetensors has {len(shard()) + 1} bytes"]),
    ("its header", {"a.safetensors": b"\x08" + bytes(7) + b"no json!"}, ["a.safetensors has no valid safetensors"]),
    ("the header's shape", {"a.safetensors": b"\x02" + bytes(7) + b"[]"}, ["a.safetensors has no valid safetensors"]),
    ("a tensor's place", {"a.safetensors": b"\x08" + bytes(7) + b'{"w":{}}'}, ["a.safetensors has no valid"]),
    ("all tensors", {"a.safetensors": b"\x02" + bytes(7) + b"{}"}, ["a.safetensors has no valid safetensors header"]),
    ("everything in it", {"a.safetensors": b""}, ["a.safetensors has no valid safetensors header"]),
    ("a page, from a proxy", {"a.safetensors": b"<!DOCTYPE html><html>"}, ["a.safetensors has no valid safetensors"]),
    ("the index", {"model.safetensors.index.json": b"{"}, ["model.safetensors.index.json can't be read: "]),
    ("the index's map", {"model.safetensors.index.json": b"[]"}, ["model.safetensors.index.json can't be read: "]),
    (
        "the names in the index",
        {"model.safetensors.index.json": b'{"weight_map": {"w": ["a"]}}'},
        ["['a'] is missing"],
    ),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS])
def test_what_index_and_headers_tell(changes: dict[str, bytes | None], expected: list[str], model: Path) -> None:
    for name, data in changes.items():
        if data is None:
            (model / name).unlink()
        else:
            (model / name).write_bytes(data)
    found = list(weights.index_problems(str(model)))
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected
    probed = run("probe", model, model.parent / "record")
    assert (probed.returncode, probed.stderr) == (0, "")
    assert probed.stdout.endswith("\nend\n")


def test_make_then_check(model: Path, tmp_path: Path) -> None:
    """A check passes, names what was altered, and passes again after it was put right."""
    record, manifest = tmp_path / "record", tmp_path / "manifest"
    manifest.write_text("\n".join(manifest_lines(model)))
    unknown = run("check", model, record, manifest)
    assert unknown.returncode == 0, "small files are hashed where nothing was recorded"
    made = run("make", model, record, manifest)
    assert (made.returncode, made.stdout.splitlines()[-1]) == (
        0,
        f"verified 5 files, {sum(p.stat().st_size for p in model.rglob('*') if p.is_file())} bytes",
    )
    was = (model / "config.json").read_text()
    (model / "config.json").write_text("altered")
    (model / "code" / "read me.md").unlink()
    wrong = run("check", model, record, manifest)
    assert wrong.returncode == 3
    assert f"weights: {model}: code/read me.md is missing" in wrong.stdout
    assert f"weights: {model}: config.json differs: 7 bytes, sha256 " in wrong.stdout
    assert len(wrong.stdout.splitlines()) == 2
    (model / "config.json").write_text(was)
    (model / "code" / "read me.md").write_text("text")
    assert run("check", model, record, manifest).returncode == 0
    (model / "extra.txt").write_text("of no matter")
    assert run("check", model, record, manifest).returncode == 0


def test_large_files_are_hashed_once_and_again_when_they_change(model: Path, tmp_path: Path) -> None:
    record, manifest = tmp_path / "record", tmp_path / "manifest"
    large = model / "large.bin"
    with large.open("wb") as file:
        file.truncate(weights.SMALL_BYTES + 1)
    manifest.write_text("\n".join(manifest_lines(model)))
    before = run("check", model, record, manifest)
    assert before.returncode == 3
    assert "large.bin was altered after it was verified (or never verified)" in before.stdout
    assert run("make", model, record, manifest).returncode == 0
    assert run("check", model, record, manifest).returncode == 0
    assert f" {weights.SMALL_BYTES + 1} large.bin\n" in run("probe", model, record).stdout
    os.utime(large, (1, 1))
    assert f"file ? {weights.SMALL_BYTES + 1} large.bin\n" in run("probe", model, record).stdout
    assert run("check", model, record, manifest).returncode == 3
    record.write_text("[1, 2")  # a damaged record is none, and everything is hashed again
    assert run("make", model, record, manifest).returncode == 0
    assert run("check", model, record, manifest).returncode == 0


def test_an_empty_manifest_takes_what_is_found_first(model: Path, tmp_path: Path) -> None:
    record, manifest = tmp_path / "record", tmp_path / "manifest"
    manifest.write_text("\n")
    nothing = run("check", model, record, manifest)
    assert (nothing.returncode, nothing.stdout) == (3, f"weights: {model}: nothing was ever verified here\n")
    assert "wrong not verified yet\n" in run("probe", model, record).stdout
    assert run("make", model, record, manifest).returncode == 0
    assert "wrong" not in run("probe", model, record).stdout
    (model / "config.json").write_text("altered")
    assert run("check", model, record, manifest).returncode == 3
    assert run("make", model, record, manifest).returncode == 1


def test_a_copy_brings_what_is_missing_or_altered_and_nothing_else(model: Path, tmp_path: Path) -> None:
    """Names with blanks too."""
    target, record, manifest = tmp_path / "target", tmp_path / "record", tmp_path / "manifest"
    manifest.write_text("\n".join(manifest_lines(model)))
    first = run("make", target, record, manifest, model)
    assert first.returncode == 0, first.stderr
    assert manifest_lines(target) == manifest_lines(model)
    (target / "code" / "read me.md").write_text("altered")
    (target / "b.safetensors").unlink()
    second = run("make", target, record, manifest, model)
    assert second.returncode == 0, second.stderr
    assert [line for line in second.stdout.splitlines() if line.startswith("copying")] == [
        "copying b.safetensors (2 of 5)",
        "copying code/read me.md (3 of 5)",
    ]
    assert manifest_lines(target) == manifest_lines(model)
    (model / "b.safetensors").unlink()
    (target / "b.safetensors").unlink()
    lost = run("make", target, record, manifest, model)
    assert (lost.returncode, lost.stderr) == (1, f"{model}/b.safetensors is missing\n")
    assert run("make", target, record, manifest, tmp_path / "nowhere").returncode == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest"
    manifest.write_text(f"{'0' * 64} 1 config.json\n")
    gone = tmp_path / "gone"
    assert run("probe", gone, tmp_path / "record").stdout == "absent\n"
    checked = run("check", gone, tmp_path / "record", manifest)
    assert (checked.returncode, checked.stdout) == (3, f"weights: {gone}: {gone} is missing\n")
    assert "put the model there" in run("make", gone, tmp_path / "record", manifest).stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
@pytest.mark.parametrize("planted", ["a stranger's", "writable", "a link"])
def test_a_record_that_is_not_ours_is_none(planted: str, model: Path, tmp_path: Path) -> None:
    """It could call anything verified."""
    record, manifest = tmp_path / "record", tmp_path / "manifest"
    manifest.touch()
    assert run("make", model, record, manifest).returncode == 0
    assert run("check", model, record, manifest).returncode == 0
    if planted == "a stranger's":
        os.chown(record, 65534, 0)
    elif planted == "writable":
        record.chmod(0o666)
    else:
        record.rename(tmp_path / "other")
        record.symlink_to("other")
    assert run("check", model, record, manifest).returncode == 3
    assert "wrong not verified yet\n" in run("probe", model, record).stdout


OWNERS: list[tuple[str, int, int, str]] = [
    ("modeling.py", 65534, 0o644, "modeling.py is owned by nobody (mode 0644), wanted root; change its owner"),
    ("modeling.py", 0, 0o664, ""),
    ("modeling.py", 0, 0o646, "modeling.py is writable by others (mode 0646); run chmod go-w"),
    ("code", 65534, 0o755, "code is owned by nobody (mode 0755), wanted root; change its owner"),
    ("code", 0, 0o777, "code is writable by others (mode 0777); run chmod go-w"),
]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
@pytest.mark.parametrize(("name", "uid", "mode", "says"), OWNERS)
def test_what_others_may_alter_is_not_looked_at(name: str, uid: int, mode: int, says: str, model: Path) -> None:
    (model / "modeling.py").write_text("pass\n")
    os.chown(model / name, uid, 0)
    (model / name).chmod(mode)
    out = run("probe", model, model.parent / "record").stdout
    assert out.startswith(f"untrusted {model}/{says}\n") if says else out.endswith("\nend\n")
