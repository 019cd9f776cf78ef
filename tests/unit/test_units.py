"""What hosts say of a stack's units, and the GPU-hours that those have used."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.deployment import Deployment, Parallelism
from infra.operate.job import gpu_hours
from infra.operate.units import listed, runs, units
from tests.unit.stacks import STACK, changed, parse
from tests.unit.talking_hosts import connect


@pytest.fixture
def d(tmp_path: Path) -> Deployment:
    """Two nodes of eight GPUs: rank 0 and the gateway on the first, rank 1 on the other."""
    made = parse(changed("launcher", {"name": "systemd"}, STACK.replace("fleet: ours", "fleet: bare")), tmp_path)
    return replace(made, parallelism=Parallelism(tensor=8, pipeline=2))


def row(name: str, active: str = "active", result: str = "success", since: int = 0, load: str = "loaded") -> str:
    return f"{name} LoadState={load} ActiveState={active} Result={result} ActiveEnterTimestampMonotonic={since}"


def said(*rows: str, uptime: float = 100) -> dict[str, str]:
    """What a host prints whose system is up since so many seconds."""
    return {"systemctl show": "\n".join((str(uptime), *rows))}


def test_the_processes_of_each_host(d: Deployment) -> None:
    assert listed(d) == {"n1": ("rank-0", "gateway"), "n2": ("rank-1",)}


def test_units_that_run(d: Deployment) -> None:
    first = said(row("rank-0", since=40_000_000), row("gateway", since=50_000_000))
    found = units(d, connect({"n1": first, "n2": said(row("rank-1", since=10_000_000))}))
    assert [(it.node, it.id, it.state, it.gpus, it.seconds) for it in found.rows] == [
        ("n1", "rank-0", "active", 8, 60), ("n1", "gateway", "active", 0, 50), ("n2", "rank-1", "active", 8, 90),
    ]  # fmt: skip
    assert (found.lost, dict(found.unread)) == ((), {})


def test_units_that_do_not(d: Deployment) -> None:
    first = said(row("rank-0", "failed", "exit-code"), row("gateway", "activating"))
    found = units(d, connect({"n1": first, "n2": said(row("rank-1", "inactive", load="not-found"))}))
    assert [(it.id, it.seconds) for it in found.rows] == [("rank-0", 0), ("gateway", 0)]
    assert found.lost == ("rank-0 on n1 is failed (exit-code)", "gateway on n1 is activating")


@pytest.mark.parametrize(
    "line",
    [
        "rank-0 LoadState=loaded ActiveState=active Result=success",
        row("rank-0", active="\x1b[32mactive"),
        row("rank-0").replace("Monotonic=0", "Monotonic=soon"),
        "",
    ],
)
def test_what_systemd_does_not_print_is_no_state(d: Deployment, line: str) -> None:
    found = units(d, connect({"n1": said(line, row("gateway")), "n2": said(row("rank-1"))}))
    assert [it.id for it in found.rows] == ["gateway", "rank-1"]
    assert found.lost[0].startswith("systemd of n1 does not tell of rank-0: ")
    assert "\x1b" not in found.lost[0]


def test_a_host_that_can_not_be_asked(d: Deployment) -> None:
    found = units(d, connect({"n1": said(row("rank-0"), row("gateway"))}))
    assert [it.id for it in found.rows] == ["rank-0", "gateway"]
    assert (found.lost, found.unread["n2"]) == (("n2 is not reachable",), "n2: no answer")


RUNS: list[tuple[str, list[str], list[tuple[str, str, int, float]]]] = [
    ("nothing yet", ["now 100"], []),
    ("it runs", ["begin 40 n1 rank-0 8", "now 100"], [("n1", "rank-0", 8, 60)]),
    ("it ran", ["begin 40 n1 rank-0 8", "end 70 n1 rank-0 8", "now 100"], [("n1", "rank-0", 8, 30)]),
    (
        "started once more",
        ["begin 40 n1 rank-0 8", "end 70 n1 rank-0 8", "begin 73 n1 rank-0 8", "now 100"],
        [("n1", "rank-0", 8, 30), ("n1", "rank-0", 8, 27)],
    ),
    (
        "its host went down",
        ["begin 40 n1 rank-0 8", "begin 60 n1 rank-0 8", "now 100"],
        [("n1", "rank-0", 8, 20), ("n1", "rank-0", 8, 40)],
    ),
    (
        "the same name on two hosts",
        ["begin 40 n1 node 8", "begin 50 n2 node 8", "end 60 n1 node 8", "now 100"],
        [("n1", "node", 8, 20), ("n2", "node", 8, 50)],
    ),
    ("one without GPUs", ["begin 40 n1 gateway 0", "now 100"], [("n1", "gateway", 0, 60)]),
    ("an end alone", ["end 70 n1 rank-0 8", "now 100"], []),
    ("a line that was cut", ["begin 40 n1", "begin 50 n1 rank-0 8", "now 100"], [("n1", "rank-0", 8, 50)]),
    ("no numbers", ["begin x n1 rank-0 8", "begin 50 n1 rank-0 y", "now then", "now 100"], []),
    ("a clock behind", ["begin 140 n1 rank-0 8", "now 100"], [("n1", "rank-0", 8, 0)]),
]


@pytest.mark.parametrize(("lines", "expected"), [row[1:] for row in RUNS], ids=[row[0] for row in RUNS])
def test_what_has_run(lines: list[str], expected: list[tuple[str, str, int, float]]) -> None:
    found = runs("\n".join(lines))
    assert [(it.node, it.id, it.gpus, it.seconds) for it in found] == expected
    assert gpu_hours(found) == pytest.approx(sum(gpus * seconds for *_, gpus, seconds in expected) / 3600)
