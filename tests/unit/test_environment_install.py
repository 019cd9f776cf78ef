"""An environment from channel to prefix: a package of our own is indexed, locked and linked for real, by py-rattler."""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import pytest
from rattler.index import index_fs

from hosts.errors import Failed, InputError
from hosts.programs import install_env
from infra.operate import lock_environment
from lab import conda_package, python_build
from lab.conda_package import Package

PLACEHOLDER = "/opt/nowhere"
PIN = f"a==1 --hash=sha256:{'0' * 64}\n"


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "hello").write_text(f"#!/bin/sh\necho {PLACEHOLDER}\n")
    (tree / "bin" / "hello").chmod(0o755)
    (tree / "bin" / "hi").symlink_to("hello")
    (tree / "binary").write_bytes(PLACEHOLDER.encode() + b"\0")
    made = tmp_path / "channel"
    package = Package(name="hello", version="1.0", subdir="linux-64", summary="A greeting", license="MIT")
    first = conda_package.write(package, tree, made, placeholder=PLACEHOLDER).read_bytes()
    assert conda_package.write(package, tree, made, placeholder=PLACEHOLDER).read_bytes() == first
    (made / "noarch").mkdir()
    asyncio.run(index_fs(made, write_zst=False, write_shards=False))
    return made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "environment"
    made.mkdir()
    return made


def write(directory: Path, channel: str, spec: str) -> None:
    (directory / "environment.yml").write_text(
        f"channels: ['{channel}']\ndependencies: ['{spec}', {{pip: [-r requirements.txt]}}]\n"
    )


def test_a_locked_package_is_linked_where_it_stays(channel: Path, directory: Path, tmp_path: Path) -> None:
    write(directory, str(channel), "hello >=1")
    lock = lock_environment.lock(directory, lambda _: None)
    prefix = tmp_path / "prefix"
    install_env.link(lock, prefix)
    assert (prefix / "bin" / "hi").read_text() == f"#!/bin/sh\necho {prefix}\n"
    assert (prefix / "binary").read_bytes() == PLACEHOLDER.encode() + b"\0"
    assert (prefix / "bin" / "hello").stat().st_mode & 0o111
    assert json.loads((prefix / "conda-meta" / "hello-1.0-0.json").read_text())["name"] == "hello"
    assert (prefix / "conda-meta" / "history").exists()


def test_a_prefix_that_was_left_half_linked_is_made_anew(channel: Path, directory: Path, tmp_path: Path) -> None:
    write(directory, str(channel), "hello")
    lock = lock_environment.lock(directory, lambda _: None)
    prefix = tmp_path / "prefix"
    install_env.link(lock, prefix)
    (prefix / "conda-meta" / "hello-1.0-0.json").unlink()
    (prefix / "stale").touch()
    install_env.link(lock, prefix)
    assert not (prefix / "stale").exists()
    assert (prefix / "conda-meta" / "hello-1.0-0.json").exists()
    (prefix / "added by pip").touch()
    install_env.link(lock, prefix)
    assert (prefix / "added by pip").exists()


def test_the_lock_says_where_hosts_see_the_channel(channel: Path, directory: Path) -> None:
    write(directory, "/mirror/channel", "hello")
    mirrors = {"/mirror/channel": str(channel)}
    text = lock_environment.lock(directory, lambda _: None, mirrors=mirrors).read_text()
    assert "/mirror/channel/linux-64/hello-1.0-0.tar.bz2" in text
    assert str(channel) not in text
    assert lock_environment.lock(directory, lambda _: None, mirrors=mirrors).read_text() == text


def test_a_spec_that_nothing_meets_is_named(channel: Path, directory: Path) -> None:
    write(directory, str(channel), "hello >=2")
    with pytest.raises(Failed, match="found no set of packages for hello >=2"):
        lock_environment.lock(directory, lambda _: None)
    assert not (directory / "conda.lock").exists()


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("channels: [c]\n", ["$.dependencies"]),
        ("channels: []\ndependencies: [python]\nchannel: [c]\n", ["$.channels", "$.channel"]),
        ("channels: [c]\ndependencies: [python, {pip: [numpy]}]\n", ["$.dependencies[1]"]),
        ("channels: [c]\ndependencies: [{pip: [-r requirements.txt]}]\n", ["$.dependencies"]),
    ],
)
def test_everything_wrong_in_an_environment_file_is_told(directory: Path, text: str, places: list[str]) -> None:
    (directory / "environment.yml").write_text(text)
    with pytest.raises(InputError) as caught:
        lock_environment.read(directory / "environment.yml")
    assert [problem.where for problem in caught.value.problems] == places


@pytest.fixture
def linked(channel: Path, directory: Path, tmp_path: Path) -> Path:
    """A prefix with a Conda package and a wheel, as they were installed."""
    write(directory, str(channel), "hello")
    prefix = tmp_path / "prefix"
    install_env.link(lock_environment.lock(directory, lambda _: None), prefix)
    site = prefix / "lib" / "python3.11" / "site-packages"
    (site / "a-1.dist-info").mkdir(parents=True)
    (site / "a").mkdir()
    (site / "a" / "__init__.py").write_text("pass\n")
    (site / "a" / "__pycache__").mkdir()
    (site / "a" / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"old")
    (prefix / "bin" / "a").write_text("#!/bin/sh\n")
    lines = []
    for name in ("a/__init__.py", "../../../bin/a"):
        digest = base64.urlsafe_b64encode(hashlib.sha256((site / name).read_bytes()).digest()).decode()
        lines.append(f"{name},sha256={digest.rstrip('=')},1")
    lines += ["a/__pycache__/__init__.cpython-311.pyc,,", "a-1.dist-info/RECORD,,"]
    (site / "a-1.dist-info" / "RECORD").write_text("\n".join(lines))
    return prefix


ALTERED: list[tuple[str, str, str | None, str]] = [
    ("a Conda package's program", "bin/hello", "#!/bin/sh\nrm -r ~\n", "bin/hello was altered"),
    ("a Conda package's data", "binary", None, "binary is missing"),
    ("a wheel's module", "lib/python3.11/site-packages/a/__init__.py", "evil", "/a/__init__.py was altered"),
    ("a wheel's program", "bin/a", "evil", "bin/a was altered"),
    ("what Python runs at each start", "lib/python3.11/site-packages/x.pth", "import x", "/x.pth is of no package"),
    ("a module of nobody's", "lib/python3.11/site-packages/b.py", "evil", "/b.py is of no package"),
    ("a program of nobody's", "bin/python", "evil", "bin/python is of no package"),
    ("a library of nobody's", "lib/libc.so.6", "evil", "lib/libc.so.6 is of no package"),
    ("byte code without its source", "lib/python3.11/c.pyc", "evil", "lib/python3.11/c.pyc is of no package"),
]


@pytest.mark.parametrize(("name", "text", "says"), [row[1:] for row in ALTERED], ids=[row[0] for row in ALTERED])
def test_what_was_there_is_verified_by_its_contents(linked: Path, name: str, text: str | None, says: str) -> None:
    install_env.verify(linked)
    if text is None:
        (linked / name).unlink()
    else:
        (linked / name).write_text(text)
    with pytest.raises(install_env.InstallFailed, match=f"is not what its packages are: .*{re.escape(says)}; remove"):
        install_env.verify(linked)


def test_a_marker_alone_is_verified_once(linked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prefix that no run of ours made is looked through before it counts, and what was altered never does."""
    (linked / install_env.MARKER).write_text('{"digest": "d1"}')
    module = linked / "lib" / "python3.11" / "site-packages" / "a" / "__init__.py"
    was = module.read_text()
    module.write_text("evil")
    assert install_env.main(arguments(tmp_path, linked)) == 1
    assert "a/__init__.py was altered; remove that folder" in last_line(capsys)
    assert not (tmp_path / "prefix.verified").exists()
    module.write_text(was)
    (linked / "bin" / "python").symlink_to(sys.executable)
    (linked / "conda-meta" / "python.json").write_text('{"paths_data": {"paths": [{"_path": "bin/python"}]}}')
    assert install_env.main(arguments(tmp_path, linked)) == 0
    assert (tmp_path / "prefix.verified").read_text() == "d1\n"
    assert (module.parent / "__pycache__" / "__init__.cpython-311.pyc").read_bytes() != b"old"
    module.write_text("evil")
    assert install_env.main(arguments(tmp_path, linked)) == 0, "hashing it all is for once"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_word_of_a_stranger_is_none(tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    install_env.note(prefix, "d1")
    assert install_env.verified(prefix, "d1")
    assert not install_env.verified(prefix, "d2")
    os.chown(tmp_path / "prefix.verified", 65534, 0)
    assert not install_env.verified(prefix, "d1")
    (tmp_path / "prefix.verified").rename(tmp_path / "x")
    os.chown(tmp_path / "x", 0, 0)
    (tmp_path / "prefix.verified").symlink_to("x")
    assert not install_env.verified(prefix, "d1")


def test_a_lock_is_nobody_elses_to_hold(tmp_path: Path) -> None:
    """And is not taken through a link."""
    (tmp_path / "prefix.lock").touch(0o666)
    with install_env.locked(tmp_path / "prefix"):
        assert (tmp_path / "prefix.lock").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link.lock").symlink_to("target")
    with pytest.raises(OSError, match="symbolic links"), install_env.locked(tmp_path / "link"):
        pass
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", ["vllm-0.19.1", "vllm-0.19.1-cpu"])
def test_shipped_environments_are_read(name: str) -> None:
    folder = Path(lock_environment.__file__).parent.parent / "environments" / name
    assert "python 3.11.*" in lock_environment.read(folder / "environment.yml").specs
    assert install_env.pins((folder / "requirements.txt").read_text())


def arguments(tmp_path: Path, prefix: Path, requirements: str = PIN, *more: str) -> list[str]:
    for name, text in (("requirements.txt", requirements), ("tools.txt", PIN), ("conda.lock", "")):
        (tmp_path / name).write_text(text)
    return [
        "--prefix", str(prefix), "--digest", "d1", "--lock", str(tmp_path / "conda.lock"),
        "--requirements", str(tmp_path / "requirements.txt"), "--tools-requirements", str(tmp_path / "tools.txt"),
        "--tools-prefix", str(tmp_path / "tools"), "--find-links", str(tmp_path), "--no-index", *more,
    ]  # fmt: skip


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_a_complete_prefix_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    (prefix / install_env.MARKER).write_text('{"digest": "d1"}')
    (tmp_path / "prefix.verified").write_text("d1\n")
    assert install_env.main(arguments(tmp_path, prefix)) == 0
    assert last_line(capsys) == "phase: done"


def test_another_environment_at_the_prefix_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    (prefix / install_env.MARKER).write_text('{"digest": "d2"}')
    assert install_env.main(arguments(tmp_path, prefix)) == 1
    assert "found digest d2, wanted d1; remove it first" in last_line(capsys)


@pytest.mark.parametrize(
    ("requirements", "said"),
    [
        ("numpy\n", "failed: found the requirement `numpy`, wanted"),
        (PIN, "failed: found no wheel with the pinned hash of a in"),
    ],
)
def test_the_last_line_tells_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], requirements: str, said: str
) -> None:
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"other bytes than the pinned ones")
    prefix = tmp_path / "prefix"
    assert install_env.main(arguments(tmp_path, prefix, requirements)) == 1
    assert last_line(capsys).startswith(said)
    assert not (prefix / install_env.MARKER).exists()
    assert not (tmp_path / "prefix.tmp").exists()


NONE_OF = "ERROR: Could not find a version that satisfies the requirement {0} (from versions: {1})\n"
NO_MATCH = "ERROR: No matching distribution found for {0}"
NO_INDEX = (
    "WARNING: Retrying (Retry(total=0, …)) after connection broken by 'NewConnectionError('<…>: Failed to establish a "
    "new connection: [Errno 111] Connection refused')': /simple/py-rattler/\n"
)
PIP_SAYS: list[tuple[str, str]] = [
    (
        (NONE_OF + NO_MATCH).format("vllm==0.19.1+cpu", ", ".join(f"0.{n}" for n in range(90))),
        "uses has no vllm==0.19.1+cpu; put the wheel of every pin into a folder on this host",
    ),
    (
        NO_INDEX + (NONE_OF + NO_MATCH).format("py-rattler==0.28.0", "none"),
        "pip on this host reaches no package index; put the wheel of every pin into a folder",
    ),
    ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "THESE PACKAGES DO NOT MATCH THE HASHES"),
]


@pytest.mark.parametrize(("printed", "says"), PIP_SAYS)
def test_pips_failure_is_one_line_that_says_what_to_do(printed: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(install_env.InstallFailed) as caught:
        install_env.run(["sh", "-c", 'printf "%s\\n" "$1"; exit 1', "sh", printed], tmp_path)
    assert says in str(caught.value)
    assert "from versions" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_no_public_index_has_is_asked_for_first(tmp_path: Path) -> None:
    """A stand-in for the prefix's Python logs what pip was asked for; it refuses the version with a local label."""
    prefix, scratch, log = tmp_path / "prefix", tmp_path / "scratch", tmp_path / "log"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    scratch.mkdir()
    python = prefix / "bin" / "python"
    python.write_text(
        "#!/bin/sh\n"
        'for word; do if [ "$before" = --requirement ]; then asked=$word; fi; before=$word; done\n'
        f"cat $asked >>{log}\n"
        "if grep -q + $asked; then echo 'ERROR: No matching distribution found for b==1+cpu'; exit 1; fi\n"
    )
    python.chmod(0o755)
    pins = PIN + f"b==1+cpu --hash=sha256:{'1' * 64}\n"
    (tmp_path / "requirements.txt").write_text(pins)
    options = argparse.Namespace(
        prefix=prefix, no_index=False, find_links="", requirements=tmp_path / "requirements.txt", tools_prefix=tmp_path
    )
    with pytest.raises(install_env.InstallFailed, match=r"has no b==1\+cpu"):
        install_env.pip(options, install_env.pins(pins), scratch)
    assert log.read_text() == f"b==1+cpu --hash=sha256:{'1' * 64}\n", "and nothing else was fetched before"


def test_removing_takes_all_but_the_lock_file(tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    (prefix / "lib").mkdir(parents=True)
    (tmp_path / "prefix.tmp").mkdir()
    for _ in range(2):
        assert install_env.main(["--prefix", str(prefix), "--remove"]) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["prefix.lock"]


def test_a_version_that_pip_did_not_install_is_named(tmp_path: Path) -> None:
    info = tmp_path / "lib" / "python3.11" / "site-packages" / "Some_Name-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: some-name\nVersion: 1\n")
    install_env.check(tmp_path, [("some.name", "1", "")])
    with pytest.raises(install_env.InstallFailed, match=r"found some.name 1 in .* wanted 2"):
        install_env.check(tmp_path, [("some.name", "2", "")])
    with pytest.raises(install_env.InstallFailed, match="found other absent"):
        install_env.check(tmp_path, [("other", "1", "")])


def test_sources_of_this_machine_less_the_security_archive() -> None:
    stanzas = "Types: deb\nURIs: a\nSuites: bookworm\n\nTypes: deb deb-src\nURIs: b\nSuites: bookworm-security\n"
    assert python_build.source_entries(stanzas, deb822=True) == "Types: deb-src\nURIs: a\nSuites: bookworm"
    lines = "# comment\ndeb [trusted=yes] a bookworm main\ndeb b bookworm-security main\ndeb-src a bookworm main\n"
    assert python_build.source_entries(lines, deb822=False) == "deb-src [trusted=yes] a bookworm main\n"


def test_libraries_beyond_glibc() -> None:
    printed = (
        "/x/_ssl.so:\n\tlinux-vdso.so.1 (0x00007f)\n\tlibssl.so.3 => /lib/libssl.so.3 (0x00007f)\n"
        "\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
    )
    assert list(python_build.needed(printed)) == [("libssl.so.3", Path("/lib/libssl.so.3"))]
    with pytest.raises(Failed, match=r"needs libgone\.so\.1, found none"):
        list(python_build.needed("\tlibgone.so.1 => not found\n"))
