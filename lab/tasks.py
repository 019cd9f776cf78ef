"""`invoke lab.…`: the embedded cluster, from the command line."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from hosts.errors import SlipwayError
from lab import keys
from lab import nodes as machines
from lab.progress import speaker
from lab.short_flags import Command

JSON = "print the nodes as one JSON document; progress goes to standard error"


@contextmanager
def reported() -> Iterator[None]:
    """Expected errors end the command with their message and exit code, not with a traceback."""
    try:
        yield
    except SlipwayError as error:
        raise Exit(str(error), code=error.exit_code) from None


def show(found: Sequence[machines.Node], as_json: bool) -> None:
    if as_json:
        print(dumps([node.to_json() for node in found], indent=2))
        return
    for node in found:
        gpus = f"{node.gpus} GPU stand-ins" if node.gpus else ""
        print(f"{node.name:6}  {node.address:11}  {node.state:8}  {gpus}".rstrip())
    if not found:
        print("the lab is down; start it with `invoke lab.up`")


@task(
    klass=Command,
    help={
        "nodes": "machines in all: login, dgx1, dgx2, … (1 to 9); more than there are adds, fewer removes none",
        "gpus": "stand-in GPU devices of each DGX; 0 keeps what there is, 8 for new ones",
        "json": JSON,
    },
)
def up(_: Context, nodes: int = 3, gpus: int = 0, json: bool = False) -> None:
    """Start the lab, or add what is missing. Example: invoke lab.up --nodes 3 --gpus 8"""
    with reported():
        show(machines.up(nodes, gpus or None, speaker("stderr" if json else "stdout")), json)


@task(
    klass=Command, help={"purge": "also remove the lab's images, keys and shared storage from the cache", "json": JSON}
)
def down(_: Context, purge: bool = False, json: bool = False) -> None:
    """End the lab and leave nothing behind but the cache. Example: invoke lab.down"""
    with reported():
        machines.down(purge, speaker("stderr" if json else "stdout"))
        if json:
            show(machines.status(), json)


@task(klass=Command, help={"json": JSON})
def status(_: Context, json: bool = False) -> None:
    """Say how each node is. Example: invoke lab.status --json"""
    with reported():
        show(machines.status(), json)


@task(
    klass=Command, help={"node": "login, dgx1, …", "root": "enter as root without SSH, also where the network is cut"}
)
def shell(_: Context, node: str, root: bool = False) -> None:
    """Open a shell on a node, as `ops` over SSH. Example: invoke lab.shell dgx1"""
    with reported():
        each = machines.known(node)
        argv = machines.entering(node, ["bash", "-l"]) if root else keys.ssh(each.address, "-t")
    os.execvp(argv[0], argv)  # noqa: S606 - no shell of ours, so that signals and the terminal are the other side's


@task(klass=Command, help={"node": "login, dgx1, …", "hard": "as by a power cut", "json": JSON})
def reboot(_: Context, node: str, hard: bool = False, json: bool = False) -> None:
    """Restart one node and wait for it. Example: invoke lab.reboot dgx1 --hard"""
    with reported():
        machines.reboot(node, hard=hard, say=speaker("stderr" if json else "stdout"))
        if json:
            show(machines.status(), json)


ns = Collection("lab", up, down, status, shell, reboot)
