"""One node: its disk over the shared image, its start, when it is ready, and its end."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import ability, cgroups, host, image, keys, network, paths, processes
from lab.errors import LabFailed
from lab.processes import Process

KEEPER = Path(__file__).with_name("keep-node.sh")
READY_S = 120.0
ASK = "systemctl is-system-running --wait; systemctl --failed --plain --no-legend"
NETWORK_FILE = """\
[Match]
Name=host0

[Network]
Address={address}/24
Gateway={gateway}
LinkLocalAddressing=no
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node as declared when its disk was made."""

    name: str
    address: str
    role: str
    """`login` or `dgx`."""
    gpus: int
    """Stand-in devices /dev/slipway-gpu0 and up."""
    image: str = ""
    """Name of the image folder that its disk lies over."""


def declare(name: str, gpus: int) -> Machine:
    """The node of that name: `login`, or `dgx1` to `dgx8`."""
    if name == "login":
        return Machine(name=name, address="10.77.0.11", role="login", gpus=0)
    return Machine(name=name, address=f"10.77.0.2{name.removeprefix('dgx')}", role="dgx", gpus=gpus)


def disk(name: str) -> Path:
    return paths.disks() / name


def pid_file(name: str) -> Path:
    return paths.run() / f"{name}.pid"


def existing(name: str) -> Machine | None:
    """The node whose disk is there and whole; None if there is none or its making was cut short."""
    try:
        return Machine(**json.loads((disk(name) / "node.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def create(machine: Machine) -> None:
    """Make the node's disk: what a site sets on each machine, and nothing else. `node.json` comes last."""
    folder = disk(machine.name)
    if folder.exists():
        (folder / "node.json").unlink(missing_ok=True)
        image.remove_tree(folder)
    upper = folder / "upper"
    for part in ("etc/ssh", "etc/systemd/network", "etc/tmpfiles.d", "home/ops/.ssh"):
        (upper / part).mkdir(parents=True)
    private = keys.host_key(machine.name)
    texts = {
        "etc/hostname": f"{machine.name}\n",
        "etc/machine-id": hashlib.sha256(f"{machine.name} {keys.public(private)}".encode()).hexdigest()[:32] + "\n",
        "etc/systemd/network/10-lab.network": NETWORK_FILE.format(address=machine.address, gateway=network.GATEWAY),
        "etc/tmpfiles.d/slipway-lab-gpus.conf": "# Stand-ins for GPUs: device nodes that SLURM counts and contains.\n"
        + "".join(
            f"c /dev/slipway-gpu{gpu} 0666 root root - {ability.GPU_MAJOR}:{gpu}\n" for gpu in range(machine.gpus)
        ),
        "etc/ssh/ssh_host_ed25519_key": private.read_text(),
        "etc/ssh/ssh_host_ed25519_key.pub": keys.public(private) + "\n",
        "home/ops/.ssh/authorized_keys": keys.public(keys.identity()) + "\n",
    }
    for name, text in texts.items():
        (upper / name).write_text(text)
    for path in (upper, *upper.rglob("*")):  # these modes cover the image's
        path.chmod(0o755 if path.is_dir() else 0o644)
    (upper / "etc/ssh/ssh_host_ed25519_key").chmod(0o600)
    passwd = (paths.lab() / machine.image / "etc/passwd").read_text().splitlines()
    user, group = next((int(fields[2]), int(fields[3])) for line in passwd if (fields := line.split(":"))[0] == "ops")
    for owned in ("home/ops", "home/ops/.ssh", "home/ops/.ssh/authorized_keys"):
        os.chown(upper / owned, user, group)
    (upper / "home/ops/.ssh").chmod(0o700)
    (folder / "node.json").write_text(json.dumps(asdict(machine), indent=2) + "\n")


def binds() -> list[str]:
    """What every node shares with this machine, as options of systemd-nspawn; the folders are made."""
    paths.storage().mkdir(parents=True, exist_ok=True)
    paths.storage().chmod(0o1777)  # as a site's scratch filesystem: everyone may make folders of their own
    options = [f"--bind={paths.storage()}:/storage"]
    for inside, folder in paths.mirrors().items():
        folder.mkdir(parents=True, exist_ok=True)
        options.append(f"--bind-ro={folder}:{inside}")
    return [*options, "--bind=/dev/fuse"] if Path("/dev/fuse").exists() else options


def start(machine: Machine) -> None:
    """Start the node; it goes on when we end. Its keeper inherits no open file of ours."""
    name, folder = machine.name, disk(machine.name)
    stop(name)
    (folder / "upper/etc/resolv.conf").write_text(network.nameservers())
    shutil.copy(KEEPER, folder)  # the shell reads it as it goes, and the checkout may change or vanish meanwhile
    groups = cgroups.create(name)
    command = [
        *cgroups.prefix(name), "unshare", "--mount", "--propagation", "slave", "sh", folder / KEEPER.name, name,
        paths.lab() / machine.image, folder, pid_file(name), "\n".join(map(str, groups)), *binds(),
    ]  # fmt: skip
    with (folder / "console.log").open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=True,
            env={"PATH": host.PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_NSPAWN_TMPFS_TMP": "0"},
        )  # fmt: skip
    deadline = time.monotonic() + 10
    while not pid_file(name).exists():
        if time.monotonic() > deadline:
            raise LabFailed(f"{name}: did not start within 10 s; {console(name)}")
        time.sleep(0.01)


def keeper(name: str) -> Process | None:
    """The shell that keeps the node running, if it does."""
    found = processes.recorded(pid_file(name))
    return found if found and found.alive() else None


def leader(name: str) -> int | None:
    """The node's PID 1, as this machine numbers it."""
    return next((pid for pid in sorted(cgroups.pids(name)) if processes.is_init_of_a_node(pid)), None)


def wait_until_ready(machine: Machine) -> tuple[str, ...]:
    """Return when `ops` gets in with the pinned host key and may use sudo, and systemd has finished starting.

    The units that failed on the way are returned; none of a new node's do.
    """
    deadline, said = time.monotonic() + READY_S, "no answer yet"
    asked = [*keys.ssh(machine.address), f"sudo -n sh -c {shlex.quote(ASK)}"]
    while time.monotonic() < deadline:
        if not keeper(machine.name):
            raise LabFailed(f"{machine.name}: ended while it started; {console(machine.name)}")
        if network.answers(machine.address):
            done = subprocess.run(
                asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=host.environment(), check=False
            )
            said = (done.stdout + done.stderr).strip()
            state, *failed = done.stdout.splitlines() or [""]
            if state in ("running", "degraded"):
                return tuple(line.split()[0] for line in failed if line)
        time.sleep(0.1)
    raise LabFailed(f"{machine.name}: not ready after {READY_S:.0f} s, last heard: {said}; {console(machine.name)}")


def console(name: str) -> str:
    """The end of the node's console, for a message."""
    log = disk(name) / "console.log"
    lines = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
    return f"the end of {log}:\n" + "\n".join(f"    {line}" for line in lines)


def stop(name: str) -> None:
    """End the node as a power cut would, with all that a dead run left of it; its disk stays."""
    if found := keeper(name):
        found.kill()
    cgroups.empty(name)
    if network.exists(network.link(name)):  # goes by itself with the node's network namespace, a moment later
        host.run(["ip", "link", "delete", network.link(name)], check=False)
    pid_file(name).unlink(missing_ok=True)
