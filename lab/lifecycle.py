"""How the lab as a whole comes up and goes down, from whatever point an earlier run got to."""

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from hosts.errors import InputError
from hosts.problem import Problem
from lab import cgroups, host, image, machine, network, paths, state
from lab.errors import LabRefused
from lab.machine import Machine
from lab.progress import Say
from lab.state import State

T = TypeVar("T")
R = TypeVar("R")
NAMES = ("login", *(f"dgx{number}" for number in range(1, 9)))
GPUS = 8


def refuse_numbers(nodes: int, gpus: int | None) -> None:
    """InputError for a number of nodes or GPUs that the lab cannot have."""
    problems = []
    if not 1 <= nodes <= len(NAMES):
        why = f"login and dgx1 to dgx{len(NAMES) - 1}"
        problems.append(Problem(where="--nodes", found=str(nodes), wanted=f"1 to {len(NAMES)}", why=why))
    if gpus is not None and not 1 <= gpus <= 16:
        problems.append(Problem(where="--gpus", found=str(gpus), wanted="1 to 16", why="stand-in devices of a node"))
    if problems:
        raise InputError(problems)


def refuse_other_gpus(names: Iterable[str], gpus: int | None) -> None:
    """LabRefused if a node was made with another number of GPUs than is asked for now."""
    made = [each for name in names if (each := machine.existing(name)) and each.role == "dgx"]
    others = [f"{each.name} has {each.gpus}" for each in made if gpus not in (None, each.gpus)]
    if others:
        raise LabRefused(f"lab: found {', '.join(others)} GPU stand-ins, wanted {gpus}; run `invoke lab.down` first")


def ours() -> State | None:
    """The state of the running lab, None if there is none; LabRefused if it belongs to another cache."""
    found = state.load()
    if found and found.cache != str(paths.cache()):
        raise LabRefused(
            f"lab: found it up from the cache {found.cache}, wanted {paths.cache()}; there is one lab a machine: "
            f"take it down with `SLIPWAY_CACHE={found.cache} invoke lab.down`"
        )
    return found


def begin() -> None:
    """Note what must be undone, before anything is changed; what an earlier boot noted is dropped."""
    shutil.rmtree(paths.run(), ignore_errors=True)  # numbers of processes of an earlier boot are other processes' now
    state.save(State(boot_id=host.boot_id(), cache=str(paths.cache()), ip_forward=network.forwarding()))


def present() -> list[str]:
    """Names of which anything is there: a disk, a process, a group or a cable."""
    return [
        name for name in NAMES
        if machine.disk(name).exists() or machine.pid_file(name).exists() or network.exists(network.link(name))
        or any(folder.exists() for folder in cgroups.folders(name))
    ]  # fmt: skip


def with_disks(names: Iterable[str], gpus: int, say: Say) -> list[Machine]:
    """The nodes of these names, each with a disk: the one it has, unless that is unfinished or its image is gone."""
    kept = [each for name in names if (each := machine.existing(name)) and (paths.lab() / each.image).is_dir()]
    lacking = [name for name in names if name not in {each.name for each in kept}]
    if not lacking:
        return kept
    folder = image.prepare(say).name
    for name in lacking:
        machine.stop(name)
        made = replace(machine.declare(name, gpus), image=folder)
        machine.create(made)
        kept.append(made)
    image.discard_unused({each.image for each in kept}, say)
    return kept


def bring_up(each: Machine, say: Say) -> None:
    """Start a node that does not run, plug it in, and wait for it."""
    if machine.keeper(each.name) and machine.leader(each.name):
        network.heal(each.name)
    else:
        machine.start(each)
    failed = machine.wait_until_ready(each)
    say(f"{each.name}: accepts ops@{each.address}" + (f", with failed units: {', '.join(failed)}" if failed else ""))


def take_down(found: State | None, say: Say) -> None:
    """Undo all that `up` does, from whatever point it or an earlier `down` got to."""
    names = present()
    together(machine.stop, names)
    cgroups.empty("keepers")
    cgroups.remove_top()
    network.down(found.ip_forward if found else network.forwarding())
    if paths.disks().exists():
        image.discard(paths.disks())
    image.discard_rest()
    shutil.rmtree(paths.run(), ignore_errors=True)
    say(f"lab: down ({', '.join(names)})" if names or found else "lab: not up, nothing to do")


def purge(say: Say) -> None:
    """Remove what outlives `lab.down`: images, keys and shared storage. Who pinned a host key must pin it anew."""
    lab = paths.lab()
    patterns = ("image-*", "image.*", "container-*", "container.*", "storage", "hostkeys", "id_ed25519*", "known_hosts")
    for path in sorted({path for pattern in patterns for path in lab.glob(pattern)}):
        say(f"purge: removing {path}")
        image.discard(path)
    with suppress(OSError):  # not ours alone
        lab.rmdir()


def together(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`work` for all items at once; the first error is raised after all have ended."""
    known_items = list(items)
    if not known_items:
        return []
    with ThreadPoolExecutor(max_workers=len(known_items)) as pool:
        futures = [pool.submit(work, item) for item in known_items]
    return [future.result() for future in futures]
