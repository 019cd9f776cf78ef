"""A cgroup of its own for each node, in every hierarchy of this machine.

Without it all nodes share one group: a unit name common to two nodes then holds the processes of both, the freezer is
common, and SLURM's containment in one node would reach into the next.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab import host
from lab.errors import LabFailed

TOP = "slipway-lab"
NOT_CONTROLLERS = frozenset(
    {"rw", "ro", "xattr", "nsdelegate", "memory_recursiveprot", "clone_children", "favordynmods"}
)


def hierarchies() -> dict[str, Path]:
    """Where each cgroup hierarchy is mounted, by its name in /proc/PID/cgroup ("" is cgroup v2)."""
    found = dict[str, Path]()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split()[:3]
        if kind == "cgroup2":
            found.setdefault("", Path(left.split()[4]))
        elif kind == "cgroup":
            words = [word for word in options.split(",") if not word.startswith("release_agent=")]
            found.setdefault(",".join(sorted(set(words) - NOT_CONTROLLERS)), Path(left.split()[4]))
    return found


def prefix(node: str) -> tuple[str, ...]:
    """What goes before the command that starts a node: under systemd, a scope with delegated groups.

    The systemd branch was not tried: the machines this was written on have no systemd as PID 1 (docs/lab.md).
    """
    if not host.systemd_is_init():
        return ()
    return ("systemd-run", "--quiet", "--collect", "--scope", "-p", "Delegate=yes", f"--unit={TOP}-{node}")


def folders(node: str) -> tuple[Path, ...]:
    """The node's group in each hierarchy, whether it exists or not."""
    inside = Path("system.slice", f"{TOP}-{node}.scope") if host.systemd_is_init() else Path(TOP, node)
    return tuple(mount / inside for mount in hierarchies().values())


def create(node: str) -> tuple[Path, ...]:
    """Make the node's groups; none where systemd makes them. A new cpuset group is unusable until it has CPUs."""
    if host.systemd_is_init():
        return ()
    made = folders(node)
    for folder in made:
        for group in (folder.parent, folder):
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                file = group / setting
                if file.exists() and not file.read_text().strip():
                    file.write_text((group.parent / setting).read_text())
    return made


def of_process(pid: int) -> tuple[Path, ...]:
    """The groups that a new process of a node belongs in: those of the node's PID 1, less its own scope."""
    mounts, found = hierarchies(), list[Path]()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, name, inside = line.split(":", 2)
        mount = mounts.get(",".join(sorted(name.split(","))))
        if mount:
            found.append(mount / inside.removesuffix("/init.scope").lstrip("/"))
    return tuple(found)


def groups(folder: Path) -> list[Path]:
    """A group and all below it, the deepest first."""
    with suppress(OSError):
        return sorted((Path(path) for path, _, _ in os.walk(folder)), reverse=True)
    return []


def members(folder: Path) -> Iterator[int]:
    """Every process in a group and in those below it."""
    for group in groups(folder):
        with suppress(OSError):
            yield from map(int, (group / "cgroup.procs").read_text().split())


def pids(node: str) -> set[int]:
    return {pid for folder in folders(node) for pid in members(folder)}


def empty(node: str, *, within_s: float = 20.0) -> None:
    """End all processes of the node and remove its groups; LabFailed if one outlives SIGKILL for `within_s`."""
    deadline = time.monotonic() + within_s
    while left := [folder for folder in folders(node) if folder.exists()]:
        for folder in left:
            kill(folder)
            for group in groups(folder):
                with suppress(OSError):  # busy: what was in it is still ending
                    group.rmdir()
        if time.monotonic() > deadline:
            found = ", ".join(map(str, sorted(pids(node)))) or "none"
            raise LabFailed(
                f"{node}: its cgroups stay busy {within_s:.0f} s after SIGKILL, processes in them: {found}; "
                "look at their state in ps (D waits for a disk), then run `invoke lab.down` again"
            )
        time.sleep(0.02)


def remove_top() -> None:
    """Remove the group common to all nodes, once it is empty."""
    for mount in hierarchies().values():
        with suppress(OSError):
            (mount / TOP).rmdir()


def kill(folder: Path) -> None:
    """SIGKILL to everything in a group: at once where cgroup v2 can, else one by one."""
    if (folder / "cgroup.kill").exists():
        with suppress(OSError):
            (folder / "cgroup.kill").write_text("1")
        return
    for group in groups(folder):
        with suppress(OSError):  # a frozen process does not die before it thaws
            if (group / "freezer.state").exists():
                (group / "freezer.state").write_text("THAWED")
    for pid in set(members(folder)):
        with suppress(OSError):
            fd = os.pidfd_open(pid)
            try:
                if pid in set(members(folder)):  # else the number may be somebody else's by now
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)
