"""Ranks land on nodes as the fleet has them, or the problem says what would fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("parallelism", "nodelist", "wanted", "fix"),
    [
        (Parallelism(tensor=32), (), "at most 2 nodes: n1, n2", "tensor: 16"),
        (Parallelism(tensor=8, data=3), (), "at most 2 nodes: n1, n2", "a parallelism of at most 16 GPUs"),
    ],
)
def test_too_few_nodes_name_the_file_and_what_would_fit(
    parallelism: Parallelism, nodelist: tuple[str, ...], wanted: str, fix: str, tmp_path: Path
) -> None:
    fleet = parse(parse_yaml(STACK), tmp_path).fleet
    (problem,) = problems(parallelism, replace(SLURM, nodelist=nodelist), fleet)
    assert problem.wanted == wanted
    assert problem.fix == f"declare more nodes in hosts/inventory/ours.yaml, or {fix}"


def test_one_node_is_singular(tmp_path: Path) -> None:
    fleet = parse(parse_yaml(STACK), tmp_path).fleet
    one = replace(fleet, name="alpha", hosts=fleet.hosts[:2])
    (problem,) = problems(Parallelism(tensor=16), SLURM, one)
    assert (problem.found, problem.wanted) == ("16 GPUs, 2 nodes of 8", "at most 1 node: n1")
    assert problem.fix == "declare more nodes in hosts/inventory/alpha.yaml, or tensor: 8"


@pytest.mark.parametrize(
    ("launcher", "where", "fix"),
    [
        ({"cpus": 1000}, "$.launcher.cpus", "cpus: 224"),
        ({"mem": "3000G"}, "$.launcher.mem", "mem: 1953G"),
        ({"name": "kubernetes", "mem": "3000Gi"}, "$.launcher.mem", "mem: 1953Gi"),
        ({"cpus": 224, "mem": "1953G"}, "", ""),
        ({"mem": "0"}, "", ""),
        ({"name": "systemd", "cpus": 1000}, "", ""),  # which does not use it, and says so
    ],
)
def test_more_than_a_node_has_is_refused(launcher: dict[str, Any], where: str, fix: str, tmp_path: Path) -> None:
    fleet = parse(parse_yaml(STACK), tmp_path).fleet
    found = list(problems(Parallelism(tensor=8), replace(SLURM, **launcher), fleet))
    assert [(problem.where, problem.fix) for problem in found] == ([(where, fix)] if where else [])
    unsaid = replace(fleet, hosts=tuple(replace(host, cpus=0, memory_mib=0) for host in fleet.hosts))
    assert list(problems(Parallelism(tensor=8), replace(SLURM, **launcher), unsaid)) == []


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
