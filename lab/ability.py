"""Whether this machine can hold a lab: each thing the kernel must do is tried where it leaves nothing behind."""

import os
import subprocess
import tempfile
from pathlib import Path

from lab import cgroups, host, network, paths
from lab.errors import LabRefused

GPU_MAJOR = 240  # reserved for local use, so no driver answers; a number of its own lets SLURM contain each
CONTROLLERS = frozenset({"cpu", "cpuacct", "cpuset", "devices", "freezer", "memory"})


def refuse_unless_root() -> None:
    """LabRefused on another system than Linux, or for another user than root."""
    if os.uname().sysname != "Linux":
        raise LabRefused(f"the lab needs Linux, found {os.uname().sysname}; everything else of Slipway works here")
    if os.geteuid() != 0:
        raise LabRefused(f"the lab needs root, found user id {os.geteuid()}; run it with sudo -E, or as root")


def refuse_unless_able() -> None:
    """LabRefused with everything that is missing at once; needs the packages of `packages.HOST`."""
    refuse_unless_root()
    missing = [*of_cgroups(), *of_devices(), *of_network(), *of_disks()]
    if missing:
        raise LabRefused("this machine cannot hold a lab:\n" + "\n".join(f"  {line}" for line in missing))


def of_cgroups() -> list[str]:
    """The controllers that SLURM contains jobs with; mounted, or in the hands of a systemd that delegates them."""
    lines = Path("/proc/cgroups").read_text().splitlines()
    lacking = sorted(CONTROLLERS - {line.split()[0] for line in lines if line.endswith("\t1")})
    if lacking:
        return [f"kernel: found no cgroup controllers {', '.join(lacking)}, wanted them for SLURM's containment"]
    mounted = {controller for name in cgroups.hierarchies() for controller in name.split(",")}
    if host.systemd_is_init() or mounted >= CONTROLLERS:
        return []
    return [
        (
            f"cgroups: found {', '.join(sorted(CONTROLLERS - mounted))} not mounted and no systemd as PID 1, "
            "wanted one of the two; mount the v1 controllers below /sys/fs/cgroup, or use a machine booted by systemd"
        )
    ]


def of_devices() -> list[str]:
    drivers = Path("/proc/devices").read_text().partition("Block")[0].split()
    if str(GPU_MAJOR) not in drivers:
        return []
    return [f"kernel: found character device number {GPU_MAJOR} in use, wanted it free for the GPU stand-ins"]


def of_network() -> list[str]:
    """Bridge, cable and masquerade, tried in a network namespace that ends with the trial."""
    trials = {
        "bridges (module bridge)": "ip link add trial type bridge",
        "virtual cables (module veth)": "ip link add trial type veth",
        "masquerading (modules nf_tables, nft_masq, nft_chain_nat)": f"nft -f - <<'END'\n{network.RULES}\nEND",
    }
    return [
        f"kernel: found no {what}, wanted them for the nodes' network ({said}); load the module"
        for what, script in trials.items()
        if (said := complaint("--net", script)) is not None
    ]


def of_disks() -> list[str]:
    """An overlay whose upper folder lies where the nodes' disks will."""
    if odd := sorted(set(str(paths.cache())) & set(":,\\\"' \n")):
        return [
            (
                f"cache: found {' '.join(map(repr, odd))} in {paths.cache()}, wanted a path without, "
                "since it goes into mount options; set SLIPWAY_CACHE to another folder"
            )
        ]
    paths.lab().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.lab(), prefix="trial-") as trial:
        said = complaint(
            "--mount",
            f"cd {trial}; mkdir lower upper work root\n"
            "mount -n -t overlay trial -o lowerdir=lower,upperdir=upper,workdir=work root && touch root/file",
        )
    if said is None:
        return []
    return [
        (
            f"disk: found that {paths.lab()} cannot hold an overlay ({said}), wanted a filesystem "
            "such as ext4 or xfs and the kernel's module overlay; load it, or set SLIPWAY_CACHE to another disk"
        )
    ]


def complaint(namespace: str, script: str) -> str | None:
    """The last line of what a shell script says when it fails in a namespace of its own; None if it works."""
    command = ["unshare", "--mount", namespace, "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=host.environment(), check=False)
    return (
        None if done.returncode == 0 else ((done.stdout + done.stderr).strip().splitlines() or ["no reason given"])[-1]
    )
