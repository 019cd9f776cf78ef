"""The program that keeps a Ray cluster to what was declared: who gets which role, and what is wrong with the nodes."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hosts.programs import ray_cluster
from hosts.programs.ray_cluster import Cluster, Node, Seen

PROGRAM = Path(ray_cluster.__file__)
A, B, C = Node("a", "10.0.0.8", 8), Node("b", "10.0.0.9", 8), Node("c", "10.0.0.10", 8)


def cluster(*nodes: Node, sort: str = "vllm") -> Cluster:
    return Cluster(6380, sort, nodes)


def with_role(node: Node, role: str) -> Node:
    return node._replace(role=role)


def seen(*nodes: Node) -> list[Seen]:
    return [Seen(node.address, node.gpus, alive=True, host=node.host) for node in nodes]


def conf(folder: Path, *nodes: Node, port: int = 6380, sort: str = "vllm") -> Path:
    path = folder / "ray.json"
    path.write_text(json.dumps({"port": port, "sort": sort, "nodes": [node._asdict() for node in nodes]}))
    return path


def run(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", str(PROGRAM), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("sort", "nodes", "order"),
    [
        ("vllm", (A, B, C), "acb"),  # text: 10.0.0.10 before 10.0.0.9
        ("vllm", (C, B, A), "cab"),
        ("vllm", (B, A, C._replace(gpus=4)), "bca"),  # fewer workers first
        ("torchspec", (C, B, A), "abc"),  # by number, wherever the head is
        ("torchspec", (B, Node("named", "dgx9", 8), A), ["a", "b", "named"]),
    ],
)
def test_nodes_are_ordered_as_the_engine_orders_them(sort: str, nodes: tuple[Node, ...], order: str) -> None:
    assert [node.host for node in ray_cluster.in_order(cluster(*nodes, sort=sort))] == list(order)


def test_ranks_follow_the_order() -> None:
    assert list(ray_cluster.roles(cluster(A, B, C))) == [
        "a (10.0.0.8): ranks 0 to 7",
        "c (10.0.0.10): ranks 8 to 15",
        "b (10.0.0.9): ranks 16 to 23",
    ]


def test_a_role_that_would_land_elsewhere_is_told_with_the_order_that_would_do() -> None:
    training, inference = with_role(C, "training"), with_role(A, "inference")
    wrong = ray_cluster.misplaced(cluster(training, inference, sort="torchspec"))
    assert "the role training would land on a (10.0.0.8), which was declared for inference" in wrong
    assert "what to do: declare the roles' nodes in the order a, c" in wrong
    right = cluster(with_role(A, "training"), with_role(C, "inference"), sort="torchspec")
    assert ray_cluster.misplaced(right) == ""


def test_ranks_of_one_engine_may_be_on_any_of_its_nodes() -> None:
    assert ray_cluster.misplaced(cluster(A, B, C)) == ""


@pytest.mark.parametrize(
    ("there", "states", "hopeless"),
    [
        (seen(A, B), {"a": "alive", "b": "alive"}, ""),
        (seen(A), {"a": "alive", "b": "missing"}, ""),
        ([], {"a": "missing", "b": "missing"}, ""),
        (
            [*seen(A), Seen("10.0.0.9", 8, alive=False, why="no heartbeats")],
            {"a": "alive", "b": "dead: no heartbeats"},
            "",
        ),
        ([*seen(A), Seen("10.0.0.9", 8, alive=False), *seen(B)], {"a": "alive", "b": "alive"}, ""),
        (seen(A, B._replace(gpus=4)), {"a": "alive", "b": "4 GPUs, wanted 8"}, "b (10.0.0.9) has joined with 4 GPUs"),
        (seen(A, B, B), {"a": "alive", "b": "twice"}, "b (10.0.0.9) has joined with twice"),
        (
            seen(A, B, C),
            {"a": "alive", "b": "alive", "c": "unexpected"},
            "c (10.0.0.10) is in the cluster, and no node",
        ),
        (
            seen(A, B._replace(address="192.168.1.9")),
            {"a": "alive", "b": "unexpected"},
            "b has joined with 192.168.1.9, and was declared with 10.0.0.9: another interface",
        ),
    ],
)
def test_nodes_are_held_against_what_was_declared(there: list[Seen], states: dict[str, str], hopeless: str) -> None:
    declared = cluster(A, B)
    found = ray_cluster.states(declared, there)
    assert {host: state for host, _, state in found} == states
    why = ray_cluster.hopeless(declared, found)
    assert why.startswith(hopeless) if hopeless else why == ""
    assert not why or "what to do: " in why


def test_gpus_of_live_placement_groups_are_counted_by_node() -> None:
    groups = [
        {"state": "CREATED", "bundles": {0: {"GPU": 1.0, "node:10.0.0.8": 0.001}, 1: {"GPU": 1.0}},
         "bundles_to_node_id": {0: "x", 1: "y"}},
        {"state": "REMOVED", "bundles": {0: {"GPU": 1.0}}, "bundles_to_node_id": {0: "x"}},
    ]  # fmt: skip
    assert ray_cluster.held(groups, {"x": "10.0.0.8", "y": "10.0.0.9"}) == {"10.0.0.8": 1, "10.0.0.9": 1}


def test_an_address_of_another_host_is_refused_before_ray_starts(tmp_path: Path) -> None:
    done = run("start", conf(tmp_path, Node("a", "192.0.2.1", 1)), "a", 1, "true")
    assert done.returncode == ray_cluster.REFUSED
    assert "192.0.2.1 is no address of this host" in done.stdout
    assert "what to do: correct the address or interface of a" in done.stdout


def test_an_address_on_another_interface_is_refused(tmp_path: Path) -> None:
    done = run("start", conf(tmp_path, Node("a", "127.0.0.1", 1, "none0")), "a", 1, "true")
    assert done.returncode == ray_cluster.REFUSED
    assert "a has no interface none0 with an IPv4 address" in done.stdout


def test_the_head_becomes_the_command_at_once(tmp_path: Path) -> None:
    done = run("start", conf(tmp_path, Node("a", "127.0.0.1", 1, "lo")), "a", 1, "echo", "ray start --head")
    assert (done.returncode, done.stdout) == (0, "ray start --head\n")


def test_a_worker_names_the_head_that_it_waits_for_in_vain(tmp_path: Path) -> None:
    port = free_port()
    nodes = (Node("a", "127.0.0.1", 1), Node("b", "127.0.0.1", 1))
    done = run("start", conf(tmp_path, *nodes, port=port), "b", 1, "echo", "ray start")
    assert done.returncode == ray_cluster.REFUSED
    assert done.stdout.startswith(f"\x1fray: waits for port {port} of the head, a (127.0.0.1) (0 s)\n")
    assert "what to do: read the log of Ray on a" in done.stdout


def test_a_worker_starts_when_the_head_listens(tmp_path: Path) -> None:
    port = free_port()
    nodes = (Node("a", "127.0.0.1", 1), Node("b", "127.0.0.1", 1))
    argv = [
        sys.executable,
        "-I",
        str(PROGRAM),
        "start",
        str(conf(tmp_path, *nodes, port=port)),
        "b",
        "20",
        "echo",
        "go",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(0.3)
        with socket.create_server(("127.0.0.1", port)):
            said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.splitlines()[-1]) == (0, "go")


def test_without_a_head_nothing_is_alive(tmp_path: Path) -> None:
    done = run("alive", conf(tmp_path, Node("a", "127.0.0.1", 1), port=free_port()))
    assert (done.returncode, done.stdout) == (ray_cluster.REFUSED, "node a 127.0.0.1 missing\n")


def test_waiting_is_refused_at_once_where_roles_would_land_wrong(tmp_path: Path) -> None:
    nodes = (Node("a", "127.0.0.2", 1, "", "training"), Node("b", "127.0.0.1", 1, "", "inference"))
    start = time.monotonic()
    done = run("wait", conf(tmp_path, *nodes, port=free_port(), sort="torchspec"), 60)
    assert done.returncode == ray_cluster.REFUSED
    assert "the role training would land on b" in done.stdout
    assert time.monotonic() - start < 10


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        (seen(A, B), ""),
        (seen(A, B, C), ""),  # a stranger takes nothing away
        ([*seen(A), Seen("10.0.0.9", 8, alive=False, why="no heartbeats")], "b (10.0.0.9, dead: no heartbeats)"),
        (seen(B), "a (10.0.0.8, missing)"),
    ],
)
def test_a_lost_node_is_named_to_the_driver(there: list[Seen], lost: str) -> None:
    assert ray_cluster.lost(cluster(A, B), lambda: there) == lost
