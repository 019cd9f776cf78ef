"""What a stack has cost, and a cluster that is only removed when nobody claims it."""

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.errors import NotOurs
from hosts.resources.files import Directory
from hosts.resources.system import Package, Sysctl
from hosts.schema import parse_yaml
from hosts.state import Stage
from infra.deployment import Deployment
from infra.operate.teardown import bill, claimants, purge, refuse_claimed, refuse_elsewhere, remove_cluster
from tests.unit.stacks import STACK, parse
from tests.unit.talking_hosts import Hosts, connect

RUNNING = "job 20|RUNNING|n1|gres:gpu:8|1|0:30:00|UNLIMITED|N/A|abc|None"
ENDED = "ours 5 20\nJobId=5 Name=slipway-test JobState=FAILED StartTime=2026-11-24T00:00:00 EndTime=2026-11-24T01:00:00"


@pytest.fixture
def d(tmp_path: Path) -> Deployment:
    return parse(parse_yaml(STACK), tmp_path)


def test_a_bill(d: Deployment) -> None:
    """Live and ended jobs; a price only where the fleet names one."""
    hosts = connect({"login": {"completions": ENDED, "%i|%T": RUNNING}})
    assert bill(d, hosts).to_json() == {"gpu_hours": 12.0, "jobs": 2, "cost": None, "unknown": None}
    priced = replace(d, fleet=replace(d.fleet, price_per_gpu_hour="2.5"))
    assert bill(priced, hosts).to_json()["cost"] == 30.0
    assert bill(priced, hosts).text() == "GPU-hours: 12.00 in 2 run(s), 30.00 at 2.5 a GPU-hour"


def test_a_bill_that_can_not_be_told_is_not_zero(d: Deployment) -> None:
    found = bill(d, connect({"login": {"%i|%T": "failed slurm_load_jobs error: no controller\n"}}))
    assert found.unknown
    assert "not known" in found.text()
    assert bill(d, connect({})).unknown == "login: no answer"


def claimed(**by_host: str) -> Hosts:
    return Hosts({name: {"claims/fleet": by_host.get(name, "")} for name in ("login", "n1", "n2")})


def test_claims_of_any_host_count(d: Deployment) -> None:
    """A claim that is half written is none."""
    assert claimants(d.fleet, claimed(login="test\n", n2="test\nother\nx.new\n")) == ["other", "test"]


def test_a_claimed_cluster_stays(d: Deployment) -> None:
    hosts = claimed(n2="test\nother\n")
    with pytest.raises(NotOurs, match="claimed by other, so nothing was removed; first run: invoke teardown -s other"):
        refuse_claimed(d.fleet, hosts, but="test")
    refuse_claimed(d.fleet, claimed(login="test\n"), but="test")
    with pytest.raises(NotOurs, match="claimed by other, test"):
        remove_cluster(d.fleet, (), hosts, holder="me", secrets=lambda _: b"", say=lambda _host, _line: None)


def test_a_stack_of_another_backend_is_not_torn_down_here(d: Deployment) -> None:
    """Its destroy would find nothing to do here, and its processes would look like something left behind."""
    ours, theirs = "backend=b0\nholder=ann@here\n", "backend=b1\nholder=bob@there\n"
    refuse_elsewhere(d, "b0", Hosts({name: {"fleet/test": ours} for name in ("login", "n1", "n2")}))
    refuse_elsewhere(d, "b0", Hosts({name: {"fleet/test": "absent\n"} for name in ("login", "n1", "n2")}))
    hosts = Hosts({"login": {"fleet/test": ours}, "n1": {"fleet/test": theirs}, "n2": {}})
    with pytest.raises(
        NotOurs, match=r"n1: the stack test is claimed from another Pulumi backend by bob@there; .*nothing was removed"
    ):
        refuse_elsewhere(d, "b0", hosts)


def test_storage_is_not_removed_with_the_cluster(d: Deployment) -> None:
    """Its folders hold weights and environments; the other stages go last first."""
    setting = Sysctl(name="a.b", value="1")
    stages = tuple(Stage(name=name, hosts={"n1": (setting,)}) for name in ("base", "storage", "slurm"))
    order: list[str] = []
    hosts = Hosts({name: {"sysctl": "=1\n--\n"} for name in ("login", "n1", "n2")})
    remove_cluster(d.fleet, stages, hosts, holder="me", secrets=lambda _: b"", say=lambda _, line: order.append(line))
    assert order == ["removing slurm", "removing base"]


def test_purge_says_what_went(d: Deployment) -> None:
    hosts = connect({"login": {"cd -P -- /shared": "envs/vllm-0.19.1-0123456789abcdef\nmodels/tiny\n"}})
    assert purge(d.fleet, hosts) == ["envs/vllm-0.19.1-0123456789abcdef", "models/tiny"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_a_purge_follows_nobody_elses_folders(d: Deployment) -> None:
    """The script itself, run on a storage where another user put links and folders in the way."""
    with tempfile.TemporaryDirectory() as folder:
        storage, name = Path(folder), "vllm-0.19.1-0123456789abcdef"
        for made in (f"envs/{name}", "models/tiny", ".slipway/claims", "kept/tiny", f"elsewhere/{name}"):
            (storage / made).mkdir(parents=True)
        for model in ("models/tiny", "kept/tiny"):
            (storage / model / ".slipway-copy").touch()
        storage.chmod(0o1777)
        (storage / "cache").symlink_to("elsewhere")
        (storage / "models").rename(storage / "mine")
        (storage / "models").symlink_to("kept")
        os.lchown(storage / "models", 65534, 0)
        fleet = replace(d.fleet, storage=replace(d.fleet.storage, path=folder))
        hosts = Hosts({"login": {}})
        purge(fleet, hosts)
        out = subprocess.run(["bash", "-s"], input=hosts.asked[0][1], capture_output=True, text=True, check=True).stdout
        assert f"envs/{name}" in out
        assert not (storage / "envs" / name).exists()
        assert (storage / "elsewhere" / name).exists()
        assert (storage / "kept" / "tiny").exists()


def test_what_stays_when_a_cluster_goes(d: Deployment) -> None:
    """Folders that others fill and packages that others need; a folder of ours alone goes with what is in it."""
    wanted = (
        Package(names=("python3",)),
        Directory(path="/var/log/slurm"),
        Directory(path="/var/lib/slurm/slurmctld", purge=True),
        Sysctl(name="a.b", value="1"),
    )
    stages = (Stage(name="base", hosts={"n1": wanted}), Stage(name="slurm", hosts={"n1": wanted[:2]}))
    hosts = Hosts({name: {"sysctl": "=1\n--\n", "slurmctld": "absent"} for name in ("login", "n1", "n2")})
    remove_cluster(d.fleet, stages, hosts, holder="me", secrets=lambda _: b"", say=lambda _host, _line: None)
    slurm, base = (script for _, script in hosts.asked if "claims/fleet" not in script)
    assert "dpkg-query" in slurm
    assert "/var/log/slurm" not in slurm + base
    assert "dpkg-query" not in base
    assert "/var/lib/slurm/slurmctld" in base
