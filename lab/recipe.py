"""What is in the nodes' image: a small Debian server as a site would hand it over, and nothing of Slipway.

A change to this file or to rootfs/ makes a new image; see `digest`.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import host
from lab.packages import APT, SUITE, Sources

# What mounts runs in a mount and process namespace of its own: nothing of it outlives a kill.
INSIDE = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
ROOTFS = Path(__file__).parent / "rootfs"
CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
# No libpam-systemd: with it each login starts a user manager, which on eight nodes of one machine costs seconds.
BASE = (
    "ca-certificates", "dbus", "iproute2", "iputils-ping", "netbase", "openssh-server", "procps", "python3", "sudo",
    "systemd", "systemd-sysv",
)  # fmt: skip
# Downloaded, not installed: what a cluster installs through apt then needs no network and little time.
CACHED = (
    "crun", "fuse-overlayfs", "libgomp1", "libnuma1", "libpmix2", "munge", "numactl", "podman", "python3-venv",
    "slurm-client", "slurmctld", "slurmd", "uidmap",
)  # fmt: skip
# What would only cost time at boot, or start by itself in the middle of a test.
MASKED = (
    "apt-daily-upgrade.timer", "apt-daily.timer", "console-getty.service", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "getty.target", "systemd-logind.service",
    "systemd-networkd-wait-online.service", "systemd-pstore.service", "tmp.mount",
)  # fmt: skip
ENABLED = {
    "multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
    "sysinit.target.wants/slipway-lab-node.service": "/etc/systemd/system/slipway-lab-node.service",
}


def digest(sources: Sources) -> str:
    """Names an image by all that it is made from; sha256, shortened to 16 digits."""
    return key(SUITE, sources.mirror, sources.lines, sources.settings, host.run(["dpkg", "--print-architecture"]))


def key(*texts: str) -> str:
    """A hash of this recipe and of some texts."""
    files = (f"{file.name}\0{mode(file):o}\0{file.read_text()}" for file in (Path(__file__), *ours()))
    return fingerprint(*files, *texts)


def fingerprint(*texts: str) -> str:
    """A hash of texts, 16 digits."""
    return hashlib.sha256("".join(f"{text}\0" for text in texts).encode()).hexdigest()[:16]


def ours() -> list[Path]:
    """The files that are laid over the tree; path here = path there."""
    return sorted(path for path in ROOTFS.rglob("*") if path.is_file())


def mode(file: Path) -> int:
    return 0o755 if os.access(file, os.X_OK) else 0o644


def make(root: Path, sources: Sources, line: Callable[[str], None]) -> None:
    """Make the image's tree at `root`, an empty folder; `line` gets what the tools print."""
    bootstrap(root, sources, BASE, line)
    configure(root, sources)
    for package in (root / "var/cache/apt/archives").glob("*.deb"):  # of the base system, which is installed
        package.unlink()
    chroot = (*INSIDE, "chroot", root)
    host.follow([*chroot, *APT, "update"], line)
    host.follow([*chroot, *APT, "install", "--download-only", "--no-install-recommends", *CACHED], line)
    host.follow(
        [*chroot, "useradd", "--create-home", "--shell", "/bin/bash", "--comment", "Site operator", "ops"], line
    )
    (root / "etc/resolv.conf").unlink()


def bootstrap(root: Path, sources: Sources, names: Sequence[str], line: Callable[[str], None]) -> None:
    """A minimal Debian with these packages at `root`, an empty folder."""
    host.follow(
        ["env", "DPKG_FORCE=unsafe-io", *INSIDE, "debootstrap", "--variant=minbase", f"--include={','.join(names)}",
         SUITE, root, sources.mirror], line,
    )  # fmt: skip


def configure(root: Path, sources: Sources) -> None:
    """Lay rootfs/ over the tree, point apt where this machine's apt points, and set which units start."""
    for file in ours():
        place(root / file.relative_to(ROOTFS), file.read_bytes(), mode(file))
    (root / "etc/sudoers.d/ops").chmod(0o440)
    place(root / "etc/apt/sources.list", sources.lines.encode())
    place(root / "etc/apt/apt.conf.d/50lab", f'{sources.settings}Acquire::Languages "none";\n'.encode())
    for keyring in sources.trust:
        place(root / "etc/apt/trusted.gpg.d" / keyring.name, keyring.read_bytes())
    for name in ("auth.conf", "auth.conf.d"):
        if (secret := Path("/etc/apt", name)).exists():
            host.run(["cp", "-a", secret, root / "etc/apt/"])
    for name in (CA_BUNDLE, "etc/resolv.conf"):
        if Path("/", name).exists():
            place(root / name, Path("/", name).read_bytes())
    units = root / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    for wanted, unit in ENABLED.items():
        (units / wanted).parent.mkdir(exist_ok=True)
        (units / wanted).unlink(missing_ok=True)
        (units / wanted).symlink_to(unit)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()


def place(path: Path, content: bytes, permissions: int = 0o644) -> None:
    """Write a file of the image; its mode is set, since the umask of who makes the image must not show in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(permissions)
