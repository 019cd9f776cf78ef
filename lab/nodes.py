"""The lab as others use it: up, down, status, and what tests do to a node."""

import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from lab import ability, cgroups, host, keys, lifecycle, locks, machine, network, packages, paths, state
from lab.errors import LabRefused
from lab.machine import Machine
from lab.progress import Say, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node as found."""

    name: str
    address: str
    role: str
    gpus: int
    """Stand-in devices, not GPUs."""
    state: str
    """`up`, `starting`, `cut` (its cable is out) or `stopped`."""
    pid: int | None
    """Its PID 1 on this machine."""

    def to_json(self) -> dict[str, str | int | None]:
        return asdict(self)


def up(nodes: int = 3, gpus: int | None = None, say: Say = silent) -> list[Node]:
    """Bring up `login` and `nodes - 1` DGX stand-ins, or add what is missing; returns when all accept SSH.

    `gpus` is for nodes that are made now (8 unless given). Raises InputError, LabRefused or LabFailed.
    """
    lifecycle.refuse_numbers(nodes, gpus)
    ability.refuse_unless_root()
    packages.install(say)
    with locks.held(paths.lock(), say):
        found = lifecycle.ours()
        if found and found.going_down:
            say("lab: finishing the lab.down that was cut short")
            lifecycle.take_down(found, say)
            found = None
        names = sorted({*lifecycle.NAMES[:nodes], *lifecycle.present()}, key=lifecycle.NAMES.index)
        lifecycle.refuse_other_gpus(names, gpus)
        if found and network.complete():
            seen = look(names)
            if len(seen) == len(names) and all(node.state == "up" for node in seen):
                say(f"lab: up already, nothing to do ({', '.join(names)})")
                return seen
        ability.refuse_unless_able()
        network.refuse_unless_free()
        if not found:
            lifecycle.begin()
        machines = lifecycle.with_disks(names, gpus or lifecycle.GPUS, say)
        network.up()
        keys.pin((each.name, each.address) for each in machines)
        lifecycle.together(lambda each: lifecycle.bring_up(each, say), machines)
        say(f"lab: up, {len(names)} nodes: {', '.join(names)}")
        return look(names)


def down(purge: bool = False, say: Say = silent) -> None:
    """End every node and leave nothing on this machine but the cache; `purge` empties the lab's part of that too.

    Nodes are cut off like at a power failure: their disks are thrown away with them. Storage, keys and image stay, but
    for engines' caches: they belong to accounts of those disks, and the next ones may give their numbers to others.
    """
    ability.refuse_unless_root()
    with locks.held(paths.lock(), say):
        found = lifecycle.ours()
        if found:
            state.save(replace(found, going_down=True))
        lifecycle.take_down(found, say)
        shutil.rmtree(paths.storage() / "cache", ignore_errors=True)
        if purge:
            lifecycle.purge(say)
        paths.lock().unlink(missing_ok=True)


def status() -> list[Node]:
    """Every node that has a disk, as found now; empty when the lab is down."""
    lifecycle.ours()
    return look(lifecycle.present())


def look(names: Iterable[str]) -> list[Node]:
    """How the nodes of these names are; what has no disk is left out."""
    machines = [each for name in names if (each := machine.existing(name))]
    return lifecycle.together(observe, machines)


def observe(each: Machine) -> Node:
    pid = machine.leader(each.name) if machine.keeper(each.name) else None
    if pid is None:
        found = "stopped"
    elif network.is_cut(each.name):
        found = "cut"
    else:
        found = "up" if network.answers(each.address) else "starting"
    return Node(name=each.name, address=each.address, role=each.role, gpus=each.gpus, state=found, pid=pid)


def exec(  # noqa: A001 - what it is called wherever containers are
    name: str,
    argv: Sequence[str],
    input: str = "",  # noqa: A002 - as in subprocess.run
    *,
    timeout_s: float = 600.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command as root in a node, without SSH; LabRefused if the node does not run. Exit codes are not checked."""
    command = entering(name, argv)
    return subprocess.run(command, input=input, capture_output=True, text=True, timeout=timeout_s, check=False)


def entering(name: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` inside a node's namespaces and groups."""
    pid = machine.leader(known(name).name)
    if pid is None:
        raise LabRefused(f"{name}: found it stopped, wanted it running; run `invoke lab.up`")
    groups = "\n".join(map(str, cgroups.of_process(pid)))
    return [
        "sh", "-c", 'for group in $1; do echo $$ >"$group/cgroup.procs"; done; shift; exec nsenter "$@"', "sh", groups,
        f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/", "--",
        "env", "-i", f"PATH={host.PATH}", "HOME=/root", "LANG=C.UTF-8", *argv,
    ]  # fmt: skip


def reboot(name: str, *, hard: bool = False, say: Say = silent) -> None:
    """Restart a node and wait for it; `hard` is a power cut. Its disk stays, what it had in memory does not."""
    ability.refuse_unless_root()
    with locks.held(paths.lock(), say):
        each = known(name)
        before = machine.leader(name)
        if hard or before is None:
            machine.start(each)
        else:
            exec(name, ["systemctl", "reboot"])
            deadline = time.monotonic() + machine.READY_S
            while machine.leader(name) in (before, None) and machine.keeper(name) and time.monotonic() < deadline:
                time.sleep(0.05)
        machine.wait_until_ready(each)
        say(f"{name}: rebooted")


def cut(name: str) -> None:
    """Pull a node's cable, at the switch's end."""
    network.cut(known(name).name)


def heal(name: str) -> None:
    """Plug a node's cable in again."""
    network.heal(known(name).name)


def known(name: str) -> Machine:
    """The node of that name; LabRefused if the lab has none."""
    lifecycle.ours()
    each = machine.existing(name) if name in lifecycle.NAMES else None
    if each is None:
        there = ", ".join(lifecycle.present())
        raise LabRefused(
            f"lab: found no node {name!r}, wanted one of {there}" if there else "lab: it is down; run `invoke lab.up`"
        )
    return each
