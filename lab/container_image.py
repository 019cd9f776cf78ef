"""The container image of TensorRT-LLM's stand-in: an OCI archive made here, with no registry and no container tool.

Two layers: a small Debian with Open MPI, sshd and Python, and the stand-in's programs. An archive holds the same bytes
for the same packages: sorted, owned by root, and what the build itself wrote dated 1970.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from lab import host, image, locks, oci_archive, packages, paths, recipe
from lab.oci_archive import Layer
from lab.progress import Say
from lab.stand_in import install

ROOT = Path(__file__).parent.parent
NAME = "localhost/slipway-trtllm-standin"
LOCK = Path("infra/environments/trtllm-1.3.0rc3-lab/image.lock")
PACKAGES = (
    "iproute2", "openmpi-bin", "openssh-client", "openssh-server", "procps", "python3", "python3-yaml",
)  # fmt: skip
# Nothing reads it in a container, and it is a third of the tree.
LEFT_OUT = (
    "usr/share/doc", "usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man", "var/cache",
    "var/lib/apt/lists", "var/log",
)  # fmt: skip
# Differs from build to build, or is a secret that every container would share.
EMPTIED = ("dev", "proc", "run", "sys", "tmp", "var/cache", "var/log")
UNWANTED = ("etc/ssh/ssh_host_*", "etc/*-", "etc/resolv.conf", "etc/hostname", "var/lib/dpkg/*-old")
SSHD_FOLDER = "run/sshd"  # sshd starts only where it is there, and /run is nobody's to fill in a container
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LABELS = {"org.slipway.stand-in": "true"}


def folder() -> Path:
    """Where archives lie, `/mirror/images` in every node."""
    return paths.cache() / "images"


def is_done() -> bool:
    """Whether the archive of this recipe is there and locked; looks only."""
    found = remembered()
    return found is not None and archive(found).is_file() and lock_file().is_file() and found in lock_file().read_text()


def archive(digest: str) -> Path:
    return folder() / f"{digest}.tar"


def lock_file() -> Path:
    return ROOT / LOCK


def memo() -> Path:
    """What was made last: the key of its recipe, and its digest."""
    return paths.lab() / "container.json"


def remembered() -> str | None:
    """The digest of what this recipe gave when it was last made."""
    try:
        known = json.loads(memo().read_text())
    except (OSError, ValueError):
        return None
    return str(known["digest"]) if known.get("key") == key() else None


def key() -> str:
    """A hash of all that the image is made from."""
    with tempfile.TemporaryDirectory() as scratch:
        install.install_trtllm(Path(scratch))
        programs = [
            f"{path.relative_to(scratch)} {recipe.mode(path):o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            for path in sorted(Path(scratch).rglob("*")) if path.is_file()
        ]  # fmt: skip
    return recipe.fingerprint(base_key(), *programs)


def base_key() -> str:
    """A hash of what the Debian layer is made from."""
    return recipe.fingerprint(*(Path(it).read_text() for it in (__file__, oci_archive.__file__)), packages.stamp())


def prepare(say: Say) -> str:
    """The reference of the image, by digest, made first where it is not there; its lock is written."""
    with locks.held(paths.lab() / "container.lock", say):
        digest = remembered()
        if digest is None or not archive(digest).is_file():
            digest = make(say)
        write(lock_file(), f"{NAME}@sha256:{digest}\n".encode())
    return f"{NAME}@sha256:{digest}"


def make(say: Say) -> str:
    """Make the archive, which appears under its name when it is whole, and drop those of earlier recipes."""
    wanted = key()
    for cut_short in paths.lab().glob("container-*.making"):
        image.remove_tree(cut_short)
    debian = base(say)
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.lab(), prefix="container-", suffix=".making") as scratch:
        programs = Path(scratch, "programs")
        install.install_trtllm(programs)
        for path in programs.rglob("*"):  # whatever the umask of who makes it
            path.chmod(0o755 if path.is_dir() else recipe.mode(path))
        engine = oci_archive.layer(programs, Path(scratch, "programs.tar"), built_s=0)
        config = {"Env": [f"PATH={PATH}", "LC_ALL=C.UTF-8"], "Cmd": ["/bin/bash"], "Labels": LABELS}
        digest = oci_archive.write(Path(scratch, "archive.tar"), NAME, (debian, engine), config, architecture())
        Path(scratch, "archive.tar").replace(archive(digest))
    write(memo(), json.dumps({"key": wanted, "digest": digest}).encode())
    for old in folder().glob("*.tar"):
        if old != archive(digest):
            old.unlink()
    say(f"container image: ready, {NAME}@sha256:{digest[:12]}…, {archive(digest).stat().st_size >> 20} MiB")
    return digest


def base(say: Say) -> Layer:
    """The Debian layer, kept under the key of its recipe."""
    file = paths.lab() / f"container-{base_key()}.layer"
    if not file.is_file():
        for old in paths.lab().glob("container-*"):
            image.remove_tree(old)
        tree = file.with_suffix(".tree")
        tree.mkdir(mode=0o755)
        began_s = tree.stat().st_mtime
        say(f"container image: a Debian {packages.SUITE} with Open MPI and sshd (a minute, once)")

        def line(text: str) -> None:
            if any(milestone in text for milestone in image.MILESTONES):
                say(f"container image: {text.removeprefix('I: ').rstrip('.').lower()}")

        recipe.bootstrap(tree, packages.sources(), PACKAGES, line)
        prune(tree)
        say("container image: packing its layer")
        oci_archive.layer(tree, file.with_suffix(".new"), built_s=began_s)
        image.remove_tree(tree)
        file.with_suffix(".new").replace(file)
    return oci_archive.read_layer(file)


def prune(tree: Path) -> None:
    """Take out of a Debian tree what no container reads, and what would make each build another."""
    for name in LEFT_OUT:
        shutil.rmtree(tree / name, ignore_errors=True)
    for name in EMPTIED:
        shutil.rmtree(tree / name, ignore_errors=True)
        (tree / name).mkdir(parents=True)
        (tree / name).chmod(0o1777 if name == "tmp" else 0o755)
    for pattern in UNWANTED:
        for path in tree.glob(pattern):
            path.unlink()
    (tree / SSHD_FOLDER).mkdir(mode=0o755)
    (tree / "etc/machine-id").write_text("")
    shadow = [line.split(":") for line in (tree / "etc/shadow").read_text().splitlines()]
    recipe.place(
        tree / "etc/shadow", "".join(":".join([*f[:2], "0", *f[3:]]) + "\n" for f in shadow).encode(), 0o640
    )  # the third field is the day of the build


def architecture() -> str:
    """This machine's, as Debian and OCI both call it."""
    return host.run(["dpkg", "--print-architecture"]).strip()


def write(path: Path, content: bytes) -> None:
    """Write a file that is whole whenever it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
