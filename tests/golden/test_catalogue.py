"""Every shipped stack through its launcher: the lines that a person would type, and the files that start its ranks."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hosts import fleet
from hosts.schema import parse_yaml
from infra import spec
from infra.deployment import Deployment, Parallelism
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.placement import place, rendezvous
from tests.conftest import Golden
from tests.unit.stacks import SOFTWARE

STACKS = tuple(stack for stack in spec.stacks() if stack not in ("lab", "dgx-h200"))
"""Those two are in test_vllm_slurm.py."""


IMAGE = f"registry.example/engine@sha256:{'ab' * 32}"
PAIRS: dict[tuple[str, str], str] = {
    ("vllm", "systemd"): "k2-vllm-dp16-ep",
    ("vllm", "kubernetes"): "dgx-h200",
    ("sglang", "kubernetes"): "k2-sglang-tp16",
    ("sglang-kt", "slurm"): "k2-ktransformers",
    ("trtllm", "systemd"): "k2-trtllm-tp16",
    ("trtllm", "slurm"): "k2-trtllm-tp16",
    ("trtllm", "kubernetes"): "k2-trtllm-tp16",
    ("ktransformers", "kubernetes"): "k2-ktransformers-legacy",
}
"""Pairs that fit and that no stack is shipped for: another launcher for one that is, on one node where it must be."""


@pytest.mark.parametrize("stack", STACKS)
def test_rendering(stack: str, golden: Golden) -> None:
    d = spec.load(stack)  # another lock, and another image of the lab's, is no other rendering
    compare(replace(d, image=IMAGE) if d.image else replace(d, software=SOFTWARE), golden)


@pytest.mark.parametrize(("engine", "launcher"), PAIRS)
def test_other_pairs(engine: str, launcher: str, golden: Golden) -> None:
    d = replace(spec.load(PAIRS[engine, launcher]), software=SOFTWARE, stack=f"{engine}-{launcher}")
    d = replace(d, launcher=replace(d.launcher, name=launcher, cpus=64, mem="850Gi", shm="16Gi"))
    if launcher == "kubernetes":
        d = replace(d, fleet=fleet.load("ice"), image=IMAGE)
    if launcher == "slurm":
        d = replace(d, image="")
    if d.engine in ("trtllm", "sglang"):
        d = replace(d, parallelism=Parallelism(tensor=8))
    assert d.engine == engine
    need = rendezvous(launcher, place(d).nodes)
    assert need in ENGINES[engine].rendezvous & LAUNCHERS[launcher].offers
    compare(d, golden)


def test_every_pair_that_fits_has_a_rendering() -> None:
    fitting = {
        (engine, launcher)
        for engine, it in ENGINES.items()
        for launcher, other in LAUNCHERS.items()
        if it.rendezvous & other.offers
    }
    shipped = {(d.engine, d.launcher.name) for d in map(spec.load, spec.stacks())}
    # it comes in images and its processes are no ranks of MPI; else the job of slurm runs from an environment
    assert fitting - {("ktransformers", "slurm")} == shipped | set(PAIRS)


def test_mpirun_without_containers(golden: Golden) -> None:
    d = spec.load("k2-trtllm-tp16")
    compare(replace(d, stack="trtllm-mpirun-bare", image="", environment="engine", software=SOFTWARE), golden)


BY_TASKS = {"trtllm-tasks": False, "trtllm-pyxis": True}
"""Tasks of SLURM as ranks, in an image and without one."""


@pytest.mark.parametrize("stack", BY_TASKS)
def test_ranks_as_tasks_of_slurm(stack: str, golden: Golden) -> None:
    d = replace(spec.load("k2-trtllm-tp16"), stack=stack)
    d = replace(d, launcher=replace(d.launcher, name="slurm", mpi="pmix", time="24:00:00", cpus=112, mem="1800G"))
    if BY_TASKS[stack]:  # on somebody else's SLURM, which chooses the nodes
        d = replace(d, fleet=replace(d.fleet, slurm="existing"), image=IMAGE)
    else:
        d = replace(d, image="", environment="engine", software=SOFTWARE)
    script = compare(d, golden)["job.sbatch"]
    check(script.partition("<<'SLIPWAY_RANK' &\n")[2].partition("\nSLIPWAY_RANK\n")[0])


def test_servers_on_all_nodes_behind_one_gateway(golden: Golden) -> None:
    d = replace(spec.load("k2-vllm-dp16-ep"), stack="vllm-hybrid", software=SOFTWARE)
    d = replace(d, launcher=replace(d.launcher, name="systemd"), args={**d.args, "data-parallel-hybrid-lb": True})
    assert not [*ENGINES[d.engine].problems(d), *LAUNCHERS[d.launcher.name].problems(d)]
    compare(d, golden)


def compare(d: Deployment, golden: Golden) -> Mapping[str, str]:
    """All that is rendered of a deployment against its golden file; scripts are what a shell can read."""
    engine, launcher, placed = ENGINES[d.engine], LAUNCHERS[d.launcher.name], place(d)
    files = launcher.files(d, placed, engine)
    lines = [f"{where}: {line}" for where, line in launcher.by_hand(d, placed, engine)]
    for line in lines:
        check(line.partition(": ")[2])
    for name, text in files.items():
        if name.endswith((".sh", ".sbatch")):
            check(text)
        elif name.endswith(".yaml"):
            assert isinstance(parse_yaml(text), dict)
    parts = [f"=== {name}\n{text}" for name, text in files.items()]
    golden(f"{d.engine}-{d.launcher.name}/{d.stack}.txt", "\n".join([*lines, "", *parts]))
    return files


def check(script: str) -> None:
    """A shell can read it."""
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("stack", STACKS)
def test_the_same_bytes_each_time(stack: str) -> None:
    d = spec.load(stack)
    engine, launcher, placed = ENGINES[d.engine], LAUNCHERS[d.launcher.name], place(d)
    assert launcher.files(d, placed, engine) == launcher.files(spec.load(stack), placed, engine)
    commands = launcher.commands(d, placed, engine)
    assert len(commands) == len(placed.ranks)
    assert not [command for command in commands if "sk-" in command.line()]
