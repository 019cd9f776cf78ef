"""Ranks land on nodes as the fleet has them, or the problem says what would fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosts.schema import parse_yaml
from infra.deployment import Deployment, LauncherConfig, Parallelism
from infra.placement import ADDRESS, HEAD, place, problems
from tests.unit.stacks import STACK, changed, parse, shipped

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
    ("tensor", "config", "wanted"),
    [
        (8, {"mem": "1900G"}, ""),
        (16, {"mem": "900G", "cpus": 96}, ""),
        (8, {"mem": "2000G"}, "at most 1953 GiB, the most that one of n1, n2 has"),
        (16, {"mem": "1900G"}, "at most 976 GiB, the most that each of 2 of n1, n2 has"),
        (16, {"cpus": 97}, "at most 96 CPUs, the most that each of 2 of n1, n2 has"),
        (8, {"mem": "1900G", "nodelist": ("n2",)}, "at most 976 GiB, the most that one of n2 has"),
    ],
)
def test_memory_and_cpus_of_a_node(tensor: int, config: dict[str, Any], wanted: str, tmp_path: Path) -> None:
    """Held to what the fleet's file declares, which is what SLURM gets on a cluster of ours."""
    fleet = parse(parse_yaml(STACK), tmp_path).fleet
    login, n1, n2 = fleet.hosts
    fleet = replace(fleet, hosts=(login, n1, replace(n2, memory_mib=1000000, cpus=96)))
    found = [it.wanted for it in problems(Parallelism(tensor=tensor), replace(SLURM, **config), fleet)]
    assert found == [wanted] * bool(wanted)
    undeclared = replace(fleet, hosts=(login, *(replace(host, memory_mib=0, cpus=0) for host in fleet.nodes)))
    assert list(problems(Parallelism(tensor=tensor), replace(SLURM, **config), undeclared)) == []


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


SYSTEMD = replace(SLURM, name="systemd")
NUMBERED = [
    (Parallelism(tensor=2), (2, 5), [("n1", (2, 5))]),
    (Parallelism(tensor=1), (2, 5), [("n1", (2,))]),
    (Parallelism(tensor=4), (2, 5), [("n1", (2, 5)), ("n2", (2, 5))]),
    (Parallelism(tensor=8), (), [("n1", tuple(range(8)))]),
]


@pytest.mark.parametrize(("parallelism", "devices", "expected"), NUMBERED)
def test_gpus_by_number(
    parallelism: Parallelism, devices: tuple[int, ...], expected: list[tuple[str, tuple[int, ...]]], tmp_path: Path
) -> None:
    d = parse(parse_yaml(STACK), tmp_path)
    launcher = replace(SYSTEMD, devices=devices)
    assert list(problems(parallelism, launcher, d.fleet)) == []
    found = place(replace(d, parallelism=parallelism, launcher=launcher))
    assert [(rank.host, rank.gpus) for rank in found.ranks] == expected


@pytest.mark.parametrize(
    ("launcher", "tensor", "where", "wanted"),
    [
        ({"devices": (2, 8)}, 2, "$.launcher.devices", "numbers below 8"),
        ({"devices": (2, 5), "gpus": 3}, 3, "$.launcher.devices", "3 GPUs"),
        ({"devices": (2, 5), "gpus": 2}, 2, "", ""),
        ({"devices": (2, 5)}, 6, "$.parallelism.tensor", "at most 2 nodes"),
        ({"devices": (2, 5)}, 3, "$.parallelism.tensor", "at most 2, or a multiple of 2"),
        ({"gpus": 9}, 9, "$.launcher.gpus", "at most 8"),
    ],
)
def test_wrong_numbers_of_gpus(launcher: dict[str, Any], tensor: int, where: str, wanted: str, tmp_path: Path) -> None:
    fleet = parse(parse_yaml(STACK), tmp_path).fleet
    found = list(problems(Parallelism(tensor=tensor), replace(SYSTEMD, **launcher), fleet))
    assert [problem.where for problem in found] == [where] * bool(where)
    assert all(wanted in problem.wanted for problem in found)


def replicated(prefill: int, decode: int) -> Deployment:
    """Prefill on a node each and decode on two each, on the first 8 of 16 nodes."""
    d = shipped("k2-sglang-pd-4p12d")
    first, last = d.roles
    roles = (
        replace(first, nodes=1, parallelism=Parallelism(data=8), replicas=prefill),
        replace(last, nodes=2, parallelism=Parallelism(data=16), replicas=decode),
    )
    return replace(d, roles=roles, fleet=replace(d.fleet, hosts=d.fleet.hosts[:9]))


def hosts_of(d: Deployment) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for rank in place(d).ranks:
        found.setdefault(f"{rank.role}-{rank.replica}", []).append(rank.host.removeprefix("dgx0"))
    return found


def test_replicas_take_nodes_from_both_ends() -> None:
    """So that another replica of either role moves none that runs."""
    fewer = {"prefill-0": ["1"], "prefill-1": ["2"], "decode-0": ["7", "8"]}
    assert hosts_of(replicated(2, 1)) == fewer
    assert hosts_of(replicated(2, 2)) == {**fewer, "decode-1": ["5", "6"]}
    assert hosts_of(replicated(3, 2)) == {**fewer, "decode-1": ["5", "6"], "prefill-2": ["3"]}
    ranks = place(replicated(2, 2)).ranks
    assert [rank.word for rank in ranks][-2:] == ["decode-1-0", "decode-1-1"]
    assert {rank.head for rank in ranks if rank.word.startswith("decode-1")} == {ranks[-2].address}
    assert (place(replicated(3, 2)).nodes, place(replicated(3, 2)).gpus) == (7, 56)


@pytest.mark.parametrize(("prefill", "decode", "said"), [(4, 2, ""), (2, 3, ""), (3, 3, "at most 8 nodes")])
def test_replicas_count(prefill: int, decode: int, said: str) -> None:
    d = replicated(prefill, decode)
    found = list(problems(d.parallelism, d.launcher, d.fleet, d.roles))
    assert [problem.where for problem in found] == ["$.roles"] * bool(said)
    assert all(said in problem.wanted for problem in found)
