"""What the owner of processes can't do, whichever launcher lists them; and what else each launcher's processes ask."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosts.fleet import Storage
from infra.deployment import Parallelism
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.launchers.mpirun import Mpirun
from infra.placement import place
from tests.unit.stacks import STACK, changed, parse

IMAGE = f"registry.example/engine@sha256:{'ab' * 32}"
APART = Storage(path="/shared", shared=False)
PROBLEMS: list[tuple[str, str, dict[str, Any], list[tuple[str, str]]]] = [
    ("nothing wrong, a job", "ours", {}, []),
    ("nothing wrong, units", "bare", {}, []),
    ("storage of its own", "bare", {"fleet": {"storage": APART}}, [("$.fleet", "storage that all nodes see")]),
    ("GPUs by number", "bare", {"launcher": {"devices": (0, 3)}}, []),
    ("GPUs by number of SLURM", "ours", {"launcher": {"devices": (0, 3)}}, [("$.launcher.devices", "nothing")]),
    (
        "GPUs by number of theirs",
        "theirs",
        {"launcher": {"devices": (1, 3)}},
        [("$.launcher.devices", "nothing"), ("$.environment", "nginx on the nodes")],
    ),
    ("an image", "bare", {"image": IMAGE}, []),
    ("an image without Podman", "ours", {"image": IMAGE}, [("$.image", "`containers: podman` in the fleet's file")]),
    ("an image, and the site's Podman", "theirs", {"image": IMAGE}, [("$.image", "nginx on the nodes")]),
    ("another partition", "ours", {"launcher": {"partition": "x"}}, [("$.launcher.partition", "gpu, the partition")]),
    ("no partition", "bare", {"launcher": {"partition": "x"}}, []),
]


@pytest.mark.parametrize("launcher", ["systemd", "ray"])
@pytest.mark.parametrize(("fleet", "changes", "found"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS])
def test_what_an_owner_can_not_do(
    launcher: str, fleet: str, changes: dict[str, Any], found: list[tuple[str, str]], tmp_path: Path
) -> None:
    d = parse(changed("fleet", fleet, STACK.replace("{name: slurm, time", "{name: systemd, time")), tmp_path)
    d = replace(d, launcher=replace(d.launcher, name=launcher), software=replace(d.software, requirements=""))
    d = replace(d, parallelism=Parallelism(tensor=2))
    nested: dict[str, Any] = {"launcher": d.launcher, "fleet": d.fleet}
    made: dict[str, Any] = {
        key: replace(nested[key], **value) if key in nested else value for key, value in changes.items()
    }
    said = list(LAUNCHERS[launcher].problems(replace(d, **made)))
    assert len(said) == len(found), said
    for problem, (where, wanted) in zip(said, found, strict=True):
        assert (problem.level, problem.where) == ("warning" if wanted.startswith("nginx") else "error", where)
        assert wanted in problem.wanted


def test_a_mesh_gives_each_node_the_gpus_of_all_its_ranks(tmp_path: Path) -> None:
    """Its sshd hands them on to the ranks of other nodes, mpirun to those of its own; hours are counted once."""
    d = parse(changed("fleet", "bare", STACK.replace("{name: slurm, time", "{name: systemd, time")), tmp_path)
    d = replace(d, engine="trtllm", release="1.3.0rc3", args={}, parallelism=Parallelism(tensor=8))
    d = replace(d, launcher=replace(d.launcher, name="mpirun", gpus=4, devices=(4, 5, 6, 7)))
    listed = {(it.host, it.name): it for it in Mpirun().processes(d, place(d), ENGINES["trtllm"])}
    assert {listed[host, "mesh"].devices for host in ("n1", "n2")} == {(4, 5, 6, 7)}
    assert listed["n1", "mpirun"].devices == ()
    assert listed["n1", "mpirun"].command.env["CUDA_VISIBLE_DEVICES"] == "4,5,6,7"
