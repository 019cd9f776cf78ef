"""Trees become layers and archives of the same bytes wherever and whenever they are made."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from lab import container_image, oci_archive


def tree(folder: Path, *, at_s: int) -> Path:
    """A tree with a folder, a program, a link and a socket's like; files dated `at_s`, one of them as its package."""
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/run").write_text("#!/bin/sh\n")
    (folder / "usr/bin/run").chmod(0o755)
    (folder / "etc").mkdir()
    (folder / "etc/passwd").write_text("root:x:0:0\n")
    (folder / "usr/bin/also").symlink_to("run")
    os.link(folder / "usr/bin/run", folder / "usr/bin/twice")
    os.mkfifo(folder / "etc/pipe")
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (at_s, at_s), follow_symlinks=False)
    os.utime(folder / "etc/passwd", (1000, 1000))
    return folder


def test_a_layer_is_the_same_bytes_whenever_it_is_made(tmp_path: Path) -> None:
    first = oci_archive.layer(tree(tmp_path / "a", at_s=5000), tmp_path / "a.tar", built_s=4000)
    second = oci_archive.layer(tree(tmp_path / "b", at_s=9000), tmp_path / "b.tar", built_s=8000)
    assert (first.sha256, first.size) == (second.sha256, second.size)
    with tarfile.open(tmp_path / "a.tar") as tar:
        found = {member.name: member for member in tar}
    assert list(found) == ["etc", "usr", "etc/passwd", "usr/bin", "usr/bin/also", "usr/bin/run", "usr/bin/twice"]
    assert {(it.uid, it.gid, it.uname, it.gname) for it in found.values()} == {(0, 0, "", "")}
    assert {name: it.mtime for name, it in found.items() if it.mtime} == {"etc/passwd": 1000}
    assert (found["usr/bin/run"].mode, found["usr/bin/twice"].islnk(), found["usr/bin/also"].linkname) == (
        0o755,
        True,
        "run",
    )


def test_an_archive_is_addressed_by_its_manifest(tmp_path: Path) -> None:
    it = oci_archive.layer(tree(tmp_path / "a", at_s=5000), tmp_path / "a.tar", built_s=0)
    digests = {
        oci_archive.write(tmp_path / f"{name}.tar", "localhost/x", (it,), {"Cmd": ["run"]}, "amd64") for name in "pq"
    }
    (digest,) = digests
    assert (tmp_path / "p.tar").read_bytes() == (tmp_path / "q.tar").read_bytes()
    with tarfile.open(tmp_path / "p.tar") as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    for name, content in contents.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]
    (named,) = json.loads(contents["index.json"])["manifests"]
    assert named["digest"] == f"sha256:{digest}"
    assert named["annotations"] == {"org.opencontainers.image.ref.name": f"localhost/x:{digest[:16]}"}
    manifest = json.loads(contents[f"blobs/sha256/{digest}"])
    config = json.loads(contents["blobs/sha256/" + manifest["config"]["digest"].partition(":")[2]])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]] == [f"sha256:{it.sha256}"]


def test_what_differs_from_build_to_build_is_taken_out(tmp_path: Path) -> None:
    for name in ("etc/ssh", "var/log/apt", "var/cache/ldconfig", "run/lock", "dev", "usr/share/doc/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/ssh/ssh_host_rsa_key").write_text("secret")
    (tmp_path / "etc/passwd-").write_text("")
    (tmp_path / "var/log/apt/history.log").write_text("today")
    (tmp_path / "etc/shadow").write_text("root:*:20782:0:99999:7:::\nsshd:!:20782::::::\n")
    container_image.prune(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"etc/machine-id", "etc/shadow"}
    assert (tmp_path / "etc/shadow").read_text() == "root:*:0:0:99999:7:::\nsshd:!:0::::::\n"
    assert (tmp_path / "run/sshd").is_dir(), "sshd starts only where it is there"
    assert not any((tmp_path / "usr/share").iterdir())


def test_the_recipe_has_the_stand_ins_programs_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path))
    key = container_image.key()
    assert key == container_image.key() != container_image.base_key()
    assert container_image.remembered() is None
    container_image.write(container_image.memo(), json.dumps({"key": key, "digest": "ab" * 32}).encode())
    assert container_image.remembered() == "ab" * 32
    assert not container_image.is_done(), "the archive is not there"
