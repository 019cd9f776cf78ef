"""The lab's Conda channel: what an engine environment starts from, as real Conda packages."""

import asyncio
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from rattler.index import index_fs

from lab import conda_package, paths, python_build, wheels
from lab.conda_package import Package
from lab.host import run
from lab.progress import Say
from lab.wheels import Pin

PIP = Pin(name="pip", version="26.0.1", sha256="bdb1b08f4274833d62c1aa29e20907365a2ceb950410df15fc9521bad440122b")
PIP_COMMANDS = ("pip = pip._internal.cli.main:main", "pip3 = pip._internal.cli.main:main")


def folder() -> Path:
    return paths.cache() / "channel"


def done() -> Path:
    """The file that is written when all else is."""
    return folder() / "complete"


def is_done() -> bool:
    return done().exists() and not missing()


def missing() -> tuple[str, ...]:
    """The packages that are not there; one that is there is whole."""
    return tuple(name for name in MAKERS if not list(folder().glob(f"*/{name}-*.tar.bz2")))


def prepare(say: Say) -> None:
    """Make the packages that are missing, then index."""
    if is_done():
        return
    channel, scratch = folder(), paths.cache() / "channel.scratch"
    channel.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)
    for name in missing():
        (scratch / name).mkdir(parents=True)
        MAKERS[name](channel, scratch / name, say)
    asyncio.run(index_fs(channel, write_zst=False, write_shards=False))
    done().touch()
    shutil.rmtree(scratch, ignore_errors=True)
    packages = ", ".join(path.name.removesuffix(".tar.bz2") for path in sorted(channel.glob("*/*.tar.bz2")))
    say(f"channel: {packages} in {channel}")


def make_pip(channel: Path, scratch: Path, say: Say) -> None:
    """pip's own wheel as a noarch package: its files, linked into whatever Python the environment has."""
    wheel, tree = wheels.fetch(PIP, scratch / "wheel", say), scratch / "tree"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree / "site-packages")
    for record in tree.glob("site-packages/*.dist-info/RECORD"):
        (record.parent / "INSTALLER").write_text("conda\n")
        record.write_text(f"{record.read_text()}{record.parent.name}/INSTALLER,,\n")
    package = Package(
        name="pip", version=PIP.version, subdir="noarch", summary="The installer of Python packages", license="MIT",
        depends=["python >=3.9"], entry_points=PIP_COMMANDS,
    )  # fmt: skip
    conda_package.write(package, tree, channel)


def make_libnuma(channel: Path, scratch: Path, say: Say) -> None:
    """The one library that vLLM's CPU build needs of the system, from Debian's package, which is not installed here."""
    say("channel: fetching libnuma1 from this machine's Debian mirror")
    python_build.update_package_lists("libnuma1")
    run(["sh", "-c", 'cd "$1" && exec apt-get download -q -o APT::Sandbox::User=root libnuma1', "sh", scratch])
    deb, tree = next(scratch.glob("libnuma1_*.deb")), scratch / "tree"
    run(["dpkg-deb", "--extract", deb, scratch / "unpacked"])
    (tree / "lib").mkdir(parents=True)
    for library in (scratch / "unpacked").glob("usr/lib/*/libnuma.so.*"):
        shutil.copy2(library, tree / "lib", follow_symlinks=False)
    version = deb.name.split("_")[1].partition("-")[0]
    package = Package(
        name="libnuma", version=version, subdir="linux-64", summary="Debian's libnuma1", license="LGPL-2.1-only"
    )
    conda_package.write(package, tree, channel)


def make_python(channel: Path, scratch: Path, say: Say) -> None:
    tree, version = python_build.build(scratch, say)
    say(f"python: packing {version}")
    package = Package(
        name="python", version=version, subdir="linux-64", summary="Python, built from Debian's source package",
        license="PSF-2.0",
    )  # fmt: skip
    conda_package.write(package, tree, channel, placeholder=python_build.PREFIX)


MAKERS: Mapping[str, Callable[[Path, Path, Say], None]] = {
    "libnuma": make_libnuma,
    "pip": make_pip,
    "python": make_python,
}
