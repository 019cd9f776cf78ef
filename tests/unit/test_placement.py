"""Ranks land on nodes as the fleet has them, or the problem says what would fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from hosts.schema import parse_yaml
from infra.deployment import LauncherConfig, Parallelism
from infra.placement import ADDRESS, HEAD, place, problems
from tests.unit.stacks import STACK, changed, parse

SLURM = LauncherConfig(name="slurm", partition="gpu", time="60")


@pytest.mark.parametrize(
    ("parallelism", "launcher", "nodes", "gpus"),
    [
        (Parallelism(), SLURM, 1, 1),
        (Parallelism(tensor=8), SLURM, 1, 8),
        (Parallelism(tensor=2, data=4), SLURM, 1, 8),
        (Parallelism(tensor=16), SLURM, 2, 8),
        (Parallelism(tensor=8, pipeline=2), SLURM, 2, 8),
        (Parallelism(tensor=2), replace(SLURM, gpus=1), 2, 1),
        (Parallelism(tensor=8), replace(SLURM, nodelist=("n2",)), 1, 8),
    ],
)
def test_what_fits(parallelism: Parallelism, launcher: LauncherConfig, nodes: int, gpus: int, tmp_path: Path) -> None:
    d = replace(parse(parse_yaml(STACK), tmp_path), parallelism=parallelism, launcher=launcher)
    assert list(problems(parallelism, launcher, d.fleet)) == []
    found = place(d)
    assert [rank.index for rank in found.ranks] == [str(n) for n in range(nodes)]
    assert {rank.gpus for rank in found.ranks} == {tuple(range(gpus))}
    assert found.gpus_per_node == gpus
    assert [rank.is_head for rank in found.ranks] == [True] + [False] * (nodes - 1)


@pytest.mark.parametrize(
    ("parallelism", "launcher", "where", "wanted"),
    [
        (Parallelism(tensor=12), SLURM, "$.parallelism.tensor", "a multiple of 8"),
        (Parallelism(tensor=24), SLURM, "$.parallelism.tensor", "at most 2 nodes: n1, n2"),
        (Parallelism(tensor=8, data=3), SLURM, "$.parallelism", "at most 2 nodes"),
        (Parallelism(tensor=16), replace(SLURM, nodelist=("n1",)), "$.launcher.nodelist", "2, the nodes"),
        (Parallelism(tensor=3), replace(SLURM, gpus=2), "$.parallelism.tensor", "a multiple of 2"),
    ],
)
def test_what_does_not_fit(
    parallelism: Parallelism, launcher: LauncherConfig, where: str, wanted: str, tmp_path: Path
) -> None:
    fleet = parse(parse_yaml(STACK), tmp_path).fleet
    (problem,) = problems(parallelism, launcher, fleet)
    assert problem.where == where
    assert wanted in problem.wanted


def test_nodes_without_gpus_are_named_for_what_they_lack(tmp_path: Path) -> None:
    fleet = parse(parse_yaml(STACK), tmp_path).fleet
    bare = replace(fleet, hosts=tuple(replace(host, gpus=None) for host in fleet.hosts))
    (problem,) = problems(Parallelism(), SLURM, bare)
    assert (problem.where, problem.wanted) == ("$.fleet", "`gpus` of its nodes")


@pytest.mark.parametrize(
    ("fleet", "tensor", "nodelist", "hosts"),
    [
        ("ours", 8, "", [""]),
        ("ours", 8, "n2", ["n2"]),
        ("ours", 16, "", ["n1", "n2"]),
        ("theirs", 16, "", ["", ""]),  # the partition may have nodes that the fleet file does not name
        ("theirs", 16, "n1,n2", ["n1", "n2"]),
    ],
)
def test_a_host_is_named_where_no_scheduler_chooses(
    fleet: str, tensor: int, nodelist: str, hosts: list[str], tmp_path: Path
) -> None:
    d = parse(changed("fleet", fleet), tmp_path)
    names = tuple(filter(None, nodelist.split(",")))
    found = place(replace(d, parallelism=Parallelism(tensor=tensor), launcher=replace(d.launcher, nodelist=names)))
    assert [rank.host for rank in found.ranks] == hosts
    assert {rank.head for rank in found.ranks} == {hosts[0] or HEAD}
    assert {rank.address for rank in found.ranks} == {ADDRESS}
