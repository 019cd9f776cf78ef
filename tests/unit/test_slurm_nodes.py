"""`enroll` on a site: nodes as its SLURM prints them become hosts of the fleet file, and nobody logs in to them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from hosts.connection import HostKey, Output, Progress, Remote
from hosts.errors import Blocked, Failed, InputError, SlipwayError, Unreachable
from hosts.fleet import Fleet, load
from hosts.shell import probe_script, token_of
from infra.operate import slurm_nodes
from infra.operate.enroll import Enrolled, enroll
from infra.operate.fleet_file import Request
from infra.operate.slurm_nodes import Node, declare, parse, partition_of
from tests.unit.test_enroll import DATA, KEY

SHOWN = (DATA / "scontrol-show-node.txt").read_text(encoding="utf-8")
"""As SLURM 23.11 and 22.05 print nodes; OS, Comment and Reason hold what others typed."""
ONE = SHOWN.partition("\n\n")[0]


def test_nodes_with_gpus_are_read_and_free_text_is_not() -> None:
    nodes, left_out = parse(SHOWN, "login")
    assert left_out == ()
    first, second = nodes
    assert first == Node(
        name="dgx01",
        address="dgx01",
        partitions=("gpu", "long"),
        cpus=224,
        sockets=2,
        threads_per_core=2,
        memory_mib=2051000,
        gpus=8,
        gpu_type="h200",
    )
    assert (second.address, second.cpus, second.gpus, second.partitions) == ("10.4.0.22", 220, 8, ("gpu",))


def test_a_partition_with_an_odd_name_is_none() -> None:
    ((node,), _) = parse(ONE.replace("Partitions=gpu,long", "Partitions=gpu,\x1b[2J,-x"), "login")
    assert node.partitions == ("gpu",)


GRES: list[tuple[str, int, str]] = [
    ("gpu:8", 8, ""),
    ("gpu:h200:8", 8, "h200"),
    ("gpu:nvidia_h100_80gb_hbm3:4(S:0-1)", 4, "nvidia_h100_80gb_hbm3"),
    ("gpu:h200:8(S:0,2),shard:64", 8, "h200"),
    ("craynetwork:4,gpu:a100:4(S:0-3)", 4, "a100"),
]


@pytest.mark.parametrize(("gres", "count", "kind"), GRES)
def test_gres(gres: str, count: int, kind: str) -> None:
    ((node,), _) = parse(ONE.replace("gpu:h200:8(S:0-1)", gres), "login")
    assert (node.gpus, node.gpu_type) == (count, kind)


LEFT_OUT: list[tuple[str, str, str]] = [
    ("NodeName=dgx01", "NodeName=DGX_01", "'DGX_01' can't be a host's name"),
    ("NodeAddr=dgx01", "NodeAddr=-oProxyCommand=id", "no address"),
    ("gpu:h200:8(S:0-1)", "gpu:a100:4,gpu:h100:4", "several kinds"),
    ("gpu:h200:8(S:0-1)", "gpu:h200:many", "can't be read"),
    ("gpu:h200:8(S:0-1)", "gpu:1g.10gb:56", "parts of GPUs"),
    ("gpu:h200:8(S:0-1)", "gpu:MIG_1g.10gb:7", "parts of GPUs"),
    ("RealMemory=2051000", "RealMemory=lots", "RealMemory is 'lots'"),
    ("CPUTot=224", "CPUs=224", "CPUTot is nothing"),
]


@pytest.mark.parametrize(("was", "now", "why"), LEFT_OUT)
def test_what_can_not_be_declared_is_left_out_with_its_reason(was: str, now: str, why: str) -> None:
    nodes, (reason,) = parse(ONE.replace(was, now), "login")
    assert nodes == ()
    assert why in reason


@pytest.mark.parametrize(
    "text", ["", "bash: line 3: scontrol: command not found\n", "slurm_load_node error: Unable to contact controller"]
)
def test_no_answer_is_no_empty_site(text: str) -> None:
    with pytest.raises(Failed, match="shows no node, but"):
        parse(text, "login")


def node(name: str, *partitions: str, kind: str = "h200") -> Node:
    return Node(
        name=name,
        address=name,
        partitions=partitions,
        cpus=224,
        sockets=2,
        threads_per_core=2,
        memory_mib=2051000,
        gpus=8,
        gpu_type=kind,
    )


@pytest.mark.parametrize(
    ("nodes", "wanted", "partition"),
    [
        ([node("a", "gpu", "long"), node("b", "long")], "", "gpu"),
        ([node("a", "big"), node("b", "big")], "", "big"),
        ([node("a", "big", "long"), node("b", "big")], "", "big"),
        ([node("a", "gpu", "long")], "long", "long"),
    ],
)
def test_the_partition(nodes: Sequence[Node], wanted: str, partition: str) -> None:
    assert partition_of(nodes, wanted) == partition


@pytest.mark.parametrize(("wanted", "why"), [("", "add --partition NAME"), ("gpu", "no node with GPUs is in")])
def test_a_partition_that_is_not_clear(wanted: str, why: str) -> None:
    with pytest.raises(Blocked, match=r"a \(1 nodes\), b \(1 nodes\)") as caught:
        partition_of([node("n1", "a"), node("n2", "b")], wanted)
    assert why in str(caught.value)


def test_the_gpus_memory_is_that_of_its_type_or_of_what_is_said() -> None:
    hosts, (note,) = declare({}, [node("a", "gpu")], partition="gpu", gpu="", user="eva")
    assert hosts["a"]["gpus"] == {"count": 8, "model": "NVIDIA H200", "memory_mib": 143771}
    assert "by its type gpu:h200" in note
    hosts, (note,) = declare({}, [node("a", "gpu", kind="")], partition="gpu", gpu="h100-80gb", user="eva")
    assert hosts["a"]["gpus"]["model"] == "NVIDIA H100 80GB"
    assert "as --gpu says" in note
    for kind in ("", "tesla"):
        with pytest.raises(Blocked, match="add --gpu"):
            declare({}, [node("a", "gpu", kind=kind)], partition="gpu", gpu="", user="eva")


def test_what_a_person_wrote_stays() -> None:
    first, _ = declare({}, [node("a", "gpu")], partition="gpu", gpu="", user="eva")
    first["a"] |= {
        "cpus": 100,
        "interface": "bond0",
        "gpus": {"count": 4, "model": "NVIDIA H200", "memory_mib": 143771},
    }
    again, notes = declare(first, [node("a", "gpu"), node("b", "gpu")], partition="gpu", gpu="", user="eva")
    assert again["a"] == first["a"]
    assert again["b"]["cpus"] == 224
    assert "a: cpus: 100 kept, SLURM has 224; delete the line to take it" in notes
    assert "a: gpus: 4 GPUs kept, SLURM has 8 GPUs; delete the line to take it" in notes


class Site:
    """A login host, and nothing else, that gives facts to enroll's script and `listed` to scontrol."""

    def __init__(self, listed: str) -> None:
        self.listed = listed
        self.logins: list[str] = []

    def fetch(self, fleet: Fleet, name: str) -> HostKey:
        host = fleet.host(name)
        if host.address != "login.example":
            raise Unreachable(f"{name}: no answer")
        return HostKey(pin=KEY, fingerprint="SHA256:x", pinned="")

    def connect_to(self, fleet: Fleet) -> "Site":
        self.fleet = fleet
        return self

    def __call__(self, name: str) -> Remote:
        assert self.fleet.host(name).host_key == KEY, "logged in without a pinned key"
        self.logins.append(name)
        return self.run

    def run(self, script: str, progress: Progress | None = None) -> Output:  # noqa: ARG002
        if "scontrol show node" in script:
            probes = [self.listed]
        else:
            probes = [""] * 16
            probes[0], probes[3], probes[5], probes[13] = "login", "8", "MemTotal: 16000000 kB", "1000"
        mark = f"\x1e{token_of(script)} "
        frames = "".join(f"{mark}{n}\n{out}\n{mark}{n}=0\n" for n, out in enumerate(probes))
        return Output(stdout=f"{frames}{mark}end\n", stderr="", status=0)


def run(site: Site, folder: Path, *hosts: str, slurm: str = "existing", gpu: str = "") -> Enrolled:
    request = Request(
        fleet="alpha",
        hosts=hosts,
        default_user="eva",
        login="login.example",
        storage="/scratch/eva",
        slurm=slurm,
        gpu=gpu,
    )
    return enroll(
        request,
        folder=folder,
        fetch=site.fetch,
        connect_to=site.connect_to,
        accept_new=lambda _: True,
        accept_changed=lambda _: False,
        say=lambda _: None,
    )


def test_a_site_is_enrolled_from_its_login_host_alone(tmp_path: Path) -> None:
    site = Site(SHOWN)
    found = run(site, tmp_path)
    fleet = load("alpha", tmp_path)
    assert (fleet.slurm, fleet.partition, fleet.login.sudo) == ("existing", "gpu", False)
    assert [(host.name, host.gpus.count if host.gpus else 0) for host in fleet.nodes] == [("dgx01", 8), ("dgx02", 8)]
    assert set(site.logins) == {"login.example"}
    assert any("2 nodes are declared with NVIDIA H200" in note for note in found.notes)
    assert run(site, tmp_path).changes == (), "a second time changes nothing"


def test_a_node_that_can_not_be_reached_says_that_it_need_not_be(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="need no SSH: name its login host alone"):
        run(Site(SHOWN), tmp_path, "dgx01")
    assert list(tmp_path.iterdir()) == []


def test_a_site_that_can_not_be_declared_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(Blocked, match="lists no node with GPUs"):
        run(Site(ONE.replace("gpu:h200:8(S:0-1)", "(null)")), tmp_path)
    with pytest.raises(InputError, match="--gpu: found 'h200', wanted nothing"):
        run(Site(SHOWN), tmp_path, slurm="none", gpu="h200")
    assert list(tmp_path.iterdir()) == []


def test_the_question_changes_nothing() -> None:
    assert "scontrol show node" in probe_script([slurm_nodes.SHOW])
