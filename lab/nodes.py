"""The lab as others use it: up, down, status, and what tests do to a node."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from hosts.errors import InputError
from hosts.problem import Problem
from lab import cgroups, host, image, keys, locks, machine, network, packages, paths, state
from lab.errors import LabRefused
from lab.machine import Machine
from lab.progress import Say, silent

T = TypeVar("T")
R = TypeVar("R")
NAMES = ("login", *(f"dgx{number}" for number in range(1, 9)))


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
    check_numbers(nodes, gpus)
    host.refuse_unless_able()
    cgroups.refuse_unless_usable()
    packages.install(say)
    with locks.held(paths.lock(), say):
        found = ours()
        if found and found.going_down:
            say("finishing the lab.down that was cut short")
            take_down(found, say)
            found = None
        names = sorted({*NAMES[:nodes], *present()}, key=NAMES.index)
        same_gpus(names, gpus)
        if found and network.complete() and all(node.state == "up" for node in look(names)):
            say(f"lab: up already, nothing to do ({', '.join(names)})")
            return look(names)
        network.refuse_unless_free()
        if not found:
            forget_last_boot()
            state.save(state.State(boot_id=host.boot_id(), cache=str(paths.cache()), ip_forward=network.forwarding()))
        machines = with_disks(names, 8 if gpus is None else gpus, say)
        network.up()
        keys.pin((each.name, each.address) for each in machines)
        together(lambda each: bring_up(each, say), machines)
        say(f"lab: up, {len(names)} nodes: {', '.join(names)}")
        return look(names)


def bring_up(each: Machine, say: Say) -> None:
    """Start a node that does not run, plug it in, and wait for it."""
    if machine.keeper(each.name) and machine.leader(each.name):
        network.heal(each.name)
    else:
        machine.start(each)
    machine.wait_until_ready(each)
    say(f"{each.name}: accepts ops@{each.address}")


def with_disks(names: Iterable[str], gpus: int, say: Say) -> list[Machine]:
    """The nodes of these names, each with a disk; a disk whose image is gone is made anew."""
    found = {name: machine.existing(name) for name in names}
    lost = [name for name, each in found.items() if each is None or not (paths.lab() / each.image).is_dir()]
    if lost:
        folder = image.prepare(say).name
        for name in lost:
            machine.stop(name)
            made = replace(machine.declare(name, gpus), image=folder)
            machine.create(made)
            found[name] = made
    kept = [each for each in found.values() if each is not None]
    if lost:
        image.discard_unused({each.image for each in kept} | {folder}, say)
    return kept


def down(purge: bool = False, say: Say = silent) -> None:
    """End every node and leave nothing on this machine but the cache; `purge` empties the lab's part of that too.

    Nodes are cut off like at a power failure: their disks are thrown away with them. Storage, keys and image stay.
    """
    host.refuse_unless_root()
    with locks.held(paths.lock(), say):
        found = ours()
        if found:
            state.save(replace(found, going_down=True))
        take_down(found, say)
        if purge:
            for folder in (paths.storage(), paths.lab() / "hostkeys", *paths.lab().glob("image-*"), *paths.lab().glob("id_ed25519*"),
                           keys.known_hosts(), paths.lab() / "image.lock"):  # fmt: skip
                if folder.exists():
                    say(f"purge: removing {folder}")
                    image.remove_tree(folder)
            with suppress(OSError):
                paths.lab().rmdir()
        paths.lock().unlink(missing_ok=True)


def take_down(found: state.State | None, say: Say) -> None:
    """Undo all that `up` does, from whatever point it or an earlier `down` got to."""
    names = present()
    together(machine.stop, names)
    cgroups.empty("keepers")
    cgroups.remove_top()
    network.down(found.ip_forward if found else network.forwarding())
    if paths.disks().exists():
        image.remove_tree(paths.disks())
    shutil.rmtree(paths.run(), ignore_errors=True)
    say(f"lab: down ({', '.join(names)})" if names or found else "lab: not up, nothing to do")


def status() -> list[Node]:
    """Every node that has a disk, as found now; empty when the lab is down."""
    ours()
    return look(present())


def look(names: Iterable[str]) -> list[Node]:
    """How the nodes of these names are; what has no disk is left out."""
    machines = [each for name in names if (each := machine.existing(name))]
    return together(observe, machines)


def observe(each: Machine) -> Node:
    pid = machine.leader(each.name) if machine.keeper(each.name) else None
    if pid is None:
        found = "stopped"
    elif network.is_cut(each.name):
        found = "cut"
    else:
        found = "up" if network.answers(each.address) else "starting"
    return Node(name=each.name, address=each.address, role=each.role, gpus=each.gpus, state=found, pid=pid)


def exec(name: str, argv: Sequence[str], input: str | None = None, *, timeout_s: float = 600.0) -> subprocess.CompletedProcess[str]:
    """Run a command as root in a node, without SSH; LabRefused if the node does not run. The exit code is not checked."""
    return subprocess.run(
        entering(name, argv), input="" if input is None else input, capture_output=True, text=True, timeout=timeout_s, check=False
    )


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
    host.refuse_unless_root()
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
    ours()
    each = machine.existing(name) if name in NAMES else None
    if each is None:
        raise LabRefused(f"lab: found no node {name!r}, wanted one of: {', '.join(present()) or 'none, the lab is down'}")
    return each


def present() -> list[str]:
    """Names of which anything is there: a disk, a process, a group or a cable."""
    return [
        name for name in NAMES
        if machine.disk(name).exists() or machine.pid_file(name).exists() or network.exists(network.link(name))
        or any(folder.exists() for folder in cgroups.folders(name))
    ]  # fmt: skip


def ours() -> state.State | None:
    """The state of the running lab; LabRefused if it belongs to another cache. None if there is none."""
    found = state.load()
    if found and found.cache != str(paths.cache()):
        raise LabRefused(
            f"lab: found it up from the cache {found.cache}, wanted {paths.cache()}; there is one lab a machine: "
            f"take it down with `SLIPWAY_CACHE={found.cache} invoke lab.down`"
        )
    return found


def forget_last_boot() -> None:
    """Drop what is known of processes of an earlier boot: their numbers are other processes' now."""
    shutil.rmtree(paths.run(), ignore_errors=True)


def check_numbers(nodes: int, gpus: int | None) -> None:
    problems = []
    if not 1 <= nodes <= len(NAMES):
        problems.append(Problem(where="--nodes", found=str(nodes), wanted=f"1 to {len(NAMES)}", why="login and dgx1 to dgx8"))
    if gpus is not None and not 0 <= gpus <= 16:
        problems.append(Problem(where="--gpus", found=str(gpus), wanted="0 to 16", why="stand-in devices of a node"))
    if problems:
        raise InputError(problems)


def same_gpus(names: Iterable[str], gpus: int | None) -> None:
    """LabRefused if a node was made with another number of GPUs than is asked for now."""
    others = [f"{each.name} has {each.gpus}" for name in names if (each := machine.existing(name)) and each.role == "dgx"
              and gpus not in (None, each.gpus)]  # fmt: skip
    if others:
        raise LabRefused(f"lab: found {', '.join(others)} GPU stand-ins, wanted {gpus}; run `invoke lab.down` first")


def together(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`work` for all items at once; the first error is raised after all have ended."""
    known_items = list(items)
    if not known_items:
        return []
    with ThreadPoolExecutor(max_workers=len(known_items)) as pool:
        futures = [pool.submit(work, item) for item in known_items]
    return [future.result() for future in futures]
