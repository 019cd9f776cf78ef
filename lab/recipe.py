"""What is in the nodes' image: a small Debian server as a site would hand it over, and nothing of Slipway.

A change to this file or to rootfs/ makes a new image; see `digest`.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from lab import host
from lab.packages import APT, SUITE, Sources

ROOTFS = Path(__file__).parent / "rootfs"
CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
# No libpam-systemd: with it each login starts a user manager, which on eight nodes of one machine costs seconds.
BASE = (
    "ca-certificates", "dbus", "iproute2", "iputils-ping", "netbase", "openssh-server", "procps", "python3", "sudo",
    "systemd", "systemd-sysv",
)  # fmt: skip
# Downloaded, not installed: what a cluster installs through apt then needs no network and little time.
CACHED = (
    "libgomp1", "libnuma1", "libpmix2", "munge", "numactl", "python3-venv", "slurm-client", "slurmctld", "slurmd",
)  # fmt: skip
# What would only cost time at boot, or start by itself in the middle of a test.
MASKED = (
    "apt-daily-upgrade.timer", "apt-daily.timer", "console-getty.service", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "getty.target", "systemd-logind.service", "systemd-networkd-wait-online.service",
    "systemd-pstore.service", "tmp.mount",
)  # fmt: skip
ENABLED = {
    "multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
    "sysinit.target.wants/slipway-lab-node.service": "/etc/systemd/system/slipway-lab-node.service",
}


def digest(sources: Sources) -> str:
    """Names an image by all that it is made from; sha256, shortened to 16 digits."""
    whole = hashlib.sha256()
    for file in (Path(__file__), *sorted(path for path in ROOTFS.rglob("*") if path.is_file())):
        whole.update(f"{file.name}\0{file.stat().st_mode & 0o777:o}\0".encode() + file.read_bytes() + b"\0")
    for text in (SUITE, sources.mirror, sources.lines, sources.settings, host.run(["dpkg", "--print-architecture"])):
        whole.update(text.encode() + b"\0")
    return whole.hexdigest()[:16]


def make(root: Path, sources: Sources, line: Callable[[str], None]) -> None:
    """Make the image's tree at `root`, an empty folder; `line` gets what the tools print.

    Everything that mounts runs in a mount and process namespace of its own: nothing of it outlives a kill.
    """
    inside = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
    host.follow(
        ["env", "DPKG_FORCE=unsafe-io", *inside, "debootstrap", "--variant=minbase", f"--include={','.join(BASE)}",
         SUITE, root, sources.mirror], line,
    )  # fmt: skip
    configure(root, sources)
    chroot = (*inside, "chroot", root)
    host.follow([*chroot, *APT, "update"], line)
    host.follow([*chroot, *APT, "install", "--download-only", "--no-install-recommends", *CACHED], line)
    host.follow([*chroot, "useradd", "--create-home", "--shell", "/bin/bash", "--comment", "Site operator", "ops"], line)
    (root / "etc/resolv.conf").unlink()


def configure(root: Path, sources: Sources) -> None:
    """Lay rootfs/ over the tree, point apt where this machine's apt points, and set which units start."""
    shutil.copytree(ROOTFS, root, dirs_exist_ok=True)
    (root / "etc/sudoers.d/ops").chmod(0o440)
    (root / "etc/apt/sources.list").write_text(sources.lines)
    (root / "etc/apt/apt.conf.d/50lab").write_text(sources.settings + 'Acquire::Languages "none";\n')
    for keyring in sources.trust:
        shutil.copy(keyring, root / "etc/apt/trusted.gpg.d" / keyring.name)
    for name in ("auth.conf", "auth.conf.d"):
        if (secret := Path("/etc/apt", name)).exists():
            host.run(["cp", "-a", f"{secret}", root / "etc/apt/"])
    for bundle in (CA_BUNDLE, "etc/resolv.conf"):
        if Path("/", bundle).exists():
            (root / bundle).unlink(missing_ok=True)
            shutil.copy(Path("/", bundle), root / bundle)
    units = root / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    for name, target in ENABLED.items():
        (units / name).parent.mkdir(exist_ok=True)
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to(target)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
