"""The fabric of stacks over several nodes: what ranks are told, and what their logs say that they use.

`logs/nccl-sockets.log` and `nccl-no-net.log` are NCCL 2.28.9 with two H200 on a machine without an HCA, P2P and shared
memory turned off, NCCL_IB_HCA naming what is not there; the second with NCCL_NET=IB. Lines with HCAs in them are of the
format of the same library, `NET/IB : Using%s %s; OOB %s:%s`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from hosts.programs import ready
from hosts.schema import parse_yaml
from infra import fabric
from infra.deployment import Deployment, LauncherConfig, Parallelism
from infra.engines.vllm import Vllm
from infra.launchers.ray import Ray
from infra.launchers.slurm import Slurm
from infra.launchers.systemd import Systemd
from infra.placement import Rank, place
from tests.unit.stacks import STACK, parse

LOGS = Path(__file__).parent / "logs"
RANK = Rank(index="0", nodes=2, gpus=(0,), head="n1", address="192.0.2.21", interface="eth0", hcas=("mlx5_0", "mlx5_3"))
BOTH = {
    "GLOO_SOCKET_IFNAME": "eth0",
    "NCCL_SOCKET_IFNAME": "eth0",
    "TP_SOCKET_IFNAME": "eth0",
    "NCCL_IB_HCA": "=mlx5_0,mlx5_3",
    "UCX_NET_DEVICES": "mlx5_0:1,mlx5_3:1",
    "NCCL_DEBUG": "INFO",
    "NCCL_DEBUG_SUBSYS": "INIT,NET",
}
INTERFACE = dict(list(BOTH.items())[:3])


@pytest.mark.parametrize(
    ("rank", "own", "expected"),
    [
        (RANK, {}, BOTH),
        (replace(RANK, nodes=1), {}, {}),
        (replace(RANK, nodes=1, role="decode"), {}, BOTH),
        (replace(RANK, nodes=1, rendezvous="ray", hcas=()), {}, INTERFACE),
        (replace(RANK, hcas=()), {}, INTERFACE),
        (replace(RANK, interface=""), {}, dict(list(BOTH.items())[3:])),
        (RANK, {"NCCL_DEBUG": "WARN", "GLOO_SOCKET_IFNAME": "ib0"}, dict(list(BOTH.items())[1:5])),
    ],
)
def test_what_a_rank_is_told(rank: Rank, own: dict[str, Any], expected: dict[str, str]) -> None:
    assert fabric.environment(rank, own) == expected


def stack(tmp_path: Path, launcher: str, second: Mapping[str, Any] | None = None) -> Deployment:
    """Two nodes with an interface and HCAs each, the second one's as told."""
    d = parse(parse_yaml(STACK), tmp_path)
    both: dict[str, Any] = {"interface": "eth0", "hcas": ("mlx5_0", "mlx5_3")}
    hosts = [replace(host, **both) if host.role == "node" else host for host in d.fleet.hosts]
    hosts[-1] = replace(hosts[-1], **(second or {}))
    slurm: Literal["ours", "none"] = "ours" if launcher == "slurm" else "none"
    return replace(
        d,
        fleet=replace(d.fleet, hosts=tuple(hosts), slurm=slurm),
        launcher=LauncherConfig(name=launcher, partition="gpu", time="60"),
        parallelism=Parallelism(tensor=16),
    )


@pytest.mark.parametrize(
    ("launcher", "second", "expected"),
    [
        ("systemd", {}, [("eth0", ("mlx5_0", "mlx5_3"))] * 2),
        ("systemd", {"interface": "eth1", "hcas": ()}, [("eth0", ("mlx5_0", "mlx5_3")), ("eth1", ())]),
        ("ray", {"interface": "eth1"}, [("eth0", ("mlx5_0", "mlx5_3")), ("eth1", ("mlx5_0", "mlx5_3"))]),
        ("slurm", {}, [("eth0", ("mlx5_0", "mlx5_3"))] * 2),
        ("slurm", {"interface": "eth1"}, [("", ("mlx5_0", "mlx5_3"))] * 2),
        ("mpirun", {"hcas": ("mlx5_0",)}, [("eth0", ())] * 16),
    ],
)
def test_hosts_that_share_an_environment_are_told_what_they_agree_on(
    launcher: str, second: dict[str, Any], expected: list[tuple[str, tuple[str, ...]]], tmp_path: Path
) -> None:
    ranks = place(stack(tmp_path, launcher, second)).ranks
    assert [(rank.interface, rank.hcas) for rank in ranks] == expected


def test_a_scheduler_may_choose_any_of_more_nodes(tmp_path: Path) -> None:
    d = replace(stack(tmp_path, "slurm", {"hcas": ("mlx5_1",)}), parallelism=Parallelism(tensor=8))
    assert [(rank.host, rank.interface, rank.hcas) for rank in place(d).ranks] == [("", "eth0", ())]


def test_rays_driver_says_what_all_nodes_have(tmp_path: Path) -> None:
    d = stack(tmp_path, "ray", {"interface": "eth1"})
    found = place(d)
    driver = Ray().commands(d, found, Vllm())[0]
    assert "NCCL_SOCKET_IFNAME" not in driver.env
    assert driver.env["NCCL_IB_HCA"] == "=mlx5_0,mlx5_3"
    nodes = Ray().processes(d, found, Vllm())
    assert [p.command.env.get("NCCL_SOCKET_IFNAME") for p in nodes] == ["eth0", "eth1", None]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ("n1=mlx5_0,mlx5_3", "n2=mlx5_0,mlx5_3")),
        ({"NCCL_IB_HCA": "mlx5_7"}, ("n1=", "n2=")),
        ({"NCCL_NET": "Socket"}, ()),
        ({"NCCL_IB_DISABLE": "1"}, ()),
    ],
)
@pytest.mark.parametrize("launcher", [Slurm(), Systemd()], ids=lambda it: it.name)
def test_what_is_read_back(
    launcher: Slurm | Systemd, env: dict[str, str], expected: tuple[str, ...], tmp_path: Path
) -> None:
    d = replace(stack(tmp_path, launcher.name), env=env)
    endpoint = launcher.endpoint(d, place(d), Vllm())
    assert endpoint.fabric == expected
    assert ("fabric" in endpoint.served) == bool(expected)


def test_nodes_that_a_scheduler_chooses_are_counted(tmp_path: Path) -> None:
    d = stack(tmp_path, "slurm")
    fleet = replace(d.fleet, hosts=(*d.fleet.hosts, replace(d.fleet.nodes[1], name="n3", address="192.0.2.23")))
    d = replace(d, fleet=fleet)
    assert Slurm().endpoint(d, place(d), Vllm()).fabric == ("=mlx5_0,mlx5_3",) * 2


def test_one_node_has_no_fabric(tmp_path: Path) -> None:
    d = replace(stack(tmp_path, "slurm"), parallelism=Parallelism(tensor=8))
    assert Slurm().endpoint(d, place(d), Vllm()).fabric == ()


NO_HCAS: dict[str, Any] = {"hcas": ()}
DECLARED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("both have them", {}, {}, ""),
    ("one lacks them", NO_HCAS, {}, "which declares no hcas of n2"),
    ("one node", NO_HCAS, {"parallelism": Parallelism(tensor=8), "launcher": {"nodelist": ("n2",)}}, ""),
    ("the stack file's own", NO_HCAS, {"env": {"NCCL_IB_HCA": "mlx5_7"}}, ""),
    ("sockets on purpose", NO_HCAS, {"env": {"NCCL_NET": "Socket"}}, ""),
    ("a stand-in fleet", NO_HCAS, {"fleet": {"stand_in": True}}, ""),
]


@pytest.mark.parametrize("launcher", [Slurm(), Systemd(), Ray()], ids=lambda it: it.name)
@pytest.mark.parametrize(("second", "changes", "said"), [row[1:] for row in DECLARED], ids=[row[0] for row in DECLARED])
def test_nodes_without_declared_hcas_are_warned_of(
    launcher: Slurm | Systemd | Ray, second: dict[str, Any], changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    d = stack(tmp_path, launcher.name, second)
    nested: dict[str, Any] = {"launcher": d.launcher, "fleet": d.fleet}
    made: dict[str, Any] = {
        key: replace(nested[key], **value) if key in nested else value for key, value in changes.items()
    }
    found = [problem for problem in launcher.problems(replace(d, **made)) if problem.rule == "fabric"]
    assert [problem.level for problem in found] == ["warning"] * bool(said)
    assert all(said in problem.found for problem in found)


def lines(name: str) -> list[str]:
    return (LOGS / f"{name}.log").read_text().splitlines()


def said(host: str, opened: str, network: str = "IB", before: str = "") -> list[str]:
    """What a rank on a host prints that opened some HCAs."""
    start = f"{before}{host}:91:91 [0] NCCL INFO "
    return [f"{start}NET/IB : Using {opened} [RO]; OOB eth0:192.0.2.21<0>", f"{start}Using network {network}"]


TWO = "[0]mlx5_0:1/IB [1]mlx5_3:1/IB"
WANTED = ("n1=mlx5_0,mlx5_3", "n2=mlx5_0,mlx5_3")
USES: list[tuple[str, list[str], tuple[str, ...], list[str]]] = [
    ("both", [*said("n1", TWO), *said("n2", TWO)], WANTED, []),
    (
        "prefixes",
        [
            *said("n1", TWO, before="(n1/rank-0) "),
            *said("n2", TWO, before="\x1b[36m(Worker pid=7, ip=192.0.2.22)\x1b[0m "),
        ],
        WANTED,
        [],
    ),
    (
        "repeated",
        [*said("n1", TWO), *(f"{line} [repeated 7x across cluster]" for line in said("n2", TWO))],
        WANTED,
        [],
    ),
    ("roce", said("n1", "[0]mlx5_0:1/RoCE [1]mlx5_3:1/RoCE"), WANTED, []),
    ("merged", said("n1", "[0]={[0] mlx5_0:1/IB, [1] mlx5_3:1/IB}"), WANTED, []),
    ("plugin", said("n1", "[0]mlx5_0:1/IB/SHARP [1]mlx5_3:1/IB/SHARP", network="IBext_v10"), WANTED, []),
    (
        "storage NIC",
        [*said("n1", f"{TWO} [2]mlx5_7:1/RoCE"), *said("n2", TWO)],
        WANTED,
        ["n1: NCCL uses the HCAs mlx5_0,mlx5_3,mlx5_7, wanted mlx5_0,mlx5_3"],
    ),
    (
        "one is down",
        [*said("n1", TWO), *said("n2", "[0]mlx5_3:1/IB")],
        WANTED,
        ["n2: NCCL uses the HCAs mlx5_3, wanted mlx5_0,mlx5_3"],
    ),
    ("the stack file's own", said("n1", "[0]mlx5_7:1/RoCE"), ("n1=", "n2="), []),
    ("any host", said("a-node", "[0]mlx5_7:1/IB"), ("=mlx5_0",), ["a-node: NCCL uses the HCAs mlx5_7, wanted mlx5_0"]),
    (
        "sockets",
        lines("nccl-sockets"),
        ("vm=mlx5_0,mlx5_1",),
        ["vm: NCCL uses the network Socket, wanted InfiniBand or RoCE over mlx5_0,mlx5_1"],
    ),
    (
        "sockets, any HCA",
        lines("nccl-sockets"),
        ("vm=",),
        ["vm: NCCL uses the network Socket, wanted InfiniBand or RoCE"],
    ),
    (
        "another plugin",
        said("n1", "", network="AWS Libfabric"),
        WANTED,
        ["n1: NCCL uses the network AWS Libfabric, wanted InfiniBand or RoCE over mlx5_0,mlx5_3"],
    ),
    ("no network at all", lines("nccl-no-net"), WANTED, []),
    ("nothing of NCCL's", ["INFO 11-24 00:33:32 [x.py:1] Using network Socket"], WANTED, []),
]


@pytest.mark.parametrize(("log", "wanted", "wrong"), [row[1:] for row in USES], ids=[row[0] for row in USES])
def test_what_nccl_uses(log: list[str], wanted: tuple[str, ...], wrong: list[str]) -> None:
    assert ready.wrong_fabric(ready.transports(log), wanted) == wrong


def served(folder: Path, **changed: object) -> ready.Served:
    named = ready.Served(stack="k2", folder=str(folder), port="8000", model="m", key_file="", fabric=WANTED)
    return named._replace(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("units", [(), ("n1/rank-0", "n2/rank-1")])
@pytest.mark.parametrize(
    ("log", "word", "told"),
    [
        ([said("n1", TWO), said("n2", TWO)], "IB:mlx5_0,mlx5_3", "http://n1:8000 by IB:mlx5_0,mlx5_3"),
        ([said("n1", TWO), []], "unread", "http://n1:8000; its NCCL did not say on all nodes"),
        ([[], []], "unread", "http://n1:8000; its NCCL did not say on all nodes"),
        ([lines("nccl-no-net"), []], "unread", "http://n1:8000; its NCCL did not say on all nodes"),
    ],
)
def test_what_is_ready_says_its_fabric(
    log: list[list[str]], word: str, told: str, units: tuple[str, ...], tmp_path: Path
) -> None:
    written(tmp_path, log, units)
    found = ready.with_fabric(served(tmp_path, units=units), "http://n1:8000 7", "7")
    assert found == ("ready", f"http://n1:8000 7 {word}", "7")
    assert ready.where(found[1]).startswith(told)


@pytest.mark.parametrize("units", [(), ("n1/rank-0", "n2/rank-1")])
def test_a_fall_back_to_sockets_is_no_readiness(units: tuple[str, ...], tmp_path: Path) -> None:
    written(tmp_path, [said("n1", TWO), [line.replace("vm:", "n2:") for line in lines("nccl-sockets")]], units)
    verdict, text, job = ready.with_fabric(served(tmp_path, units=units), "http://n1:8000 7", "7")
    assert (verdict, job) == ("unfit", "7")
    said_, where, fix = text.splitlines()
    assert "not by the fabric that the fleet's file declares" in said_
    assert where == "  n2: NCCL uses the network Socket, wanted InfiniBand or RoCE over mlx5_0,mlx5_3"
    assert "/dev/infiniband" in fix


def written(folder: Path, logs: list[list[str]], units: tuple[str, ...]) -> None:
    """The logs of two processes: a file each where they are units, else the one of their job."""
    if not units:
        (folder / "job-7.out").write_text("\n".join(line for log in logs for line in log))
    for unit, log in zip(units, logs, strict=bool(units)):
        (folder / unit).parent.mkdir(exist_ok=True)
        (folder / f"{unit}.log").write_text("\n".join(log))
