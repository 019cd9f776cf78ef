"""What a login host prints, as jobs, GPU-hours and findings; a fake host is a function from script to output."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest

from hosts.connection import Connect, Output, Progress, Remote
from hosts.errors import Failed, LeftBehind, Unreachable
from hosts.fleet import Fleet, Host, SlurmMode, Storage
from hosts.shell import token_of
from infra import paths
from infra.operate.absence import scan
from infra.operate.job import gpu_hours, gpus_of, parse_ended, parse_live, seconds_of
from tests.unit.talking_hosts import Hosts

LIVE = "20|RUNNING|dgx1|None|gres:gpu:8|2|1-02:03:04|2026-11-24T12:37:14|slipway=lab,fingerprint=abc,intent=x"
ENDED = (
    "JobId=5 UserId=slipway(64100) Name=slipway-lab JobState=FAILED TimeLimit=720 StartTime=2026-11-24T00:17:27 "
    "EndTime=2026-11-24T01:17:27 NodeList=dgx1 NodeCnt=1 Tres=cpu=2,mem=12G,node=1,billing=2 Account="
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("gres:gpu:8", 8),
        ("gpu:h200:4", 4),
        ("gres:gpu:nvidia_h200:2", 2),
        ("cpu=2,gres/gpu=16,node=2", 16),
        ("N/A", 0),
        ("", 0),
        ("cpu=2,mem=12G", 0),
    ],
)
def test_gpus_of(text: str, count: int) -> None:
    """GRES and TRES texts of several SLURM releases."""
    assert gpus_of(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:30", 30), ("1:02:03", 3723), ("1-02:03:04", 93784), ("INVALID", 0), ("", 0)],
)
def test_seconds_of(text: str, seconds: float) -> None:
    """SLURM's elapsed times."""
    assert seconds_of(text) == seconds


def test_live_jobs() -> None:
    """A job of ours, a job of the same name that is not ours, and a queue that can't be asked."""
    foreign = LIVE.replace("slipway=lab,", "slipway=lab2,").replace("20|", "21|")
    (job,) = parse_live(f"{LIVE}\n{foreign}\n", "lab")
    assert (job.id, job.node, job.gpus, job.fingerprint) == ("20", "dgx1", 16, "abc")
    assert gpu_hours([job]) == pytest.approx(16 * 93784 / 3600)
    with pytest.raises(Failed, match="squeue failed"):
        parse_live("slurm_load_jobs error: Unable to contact slurm controller\nfailed\n", "lab")


def test_ended_jobs() -> None:
    """The completion log's lines, each job once, and accounting's."""
    (job,) = parse_ended(f"{ENDED}\n{ENDED}\n")
    assert (job.id, job.state, job.seconds, job.gpus) == ("5", "FAILED", 3600, 0)
    (counted,) = parse_ended("7|COMPLETED|7200|billing=2,gres/gpu=8,node=1\n")
    assert gpu_hours([counted]) == 16
    assert gpu_hours([replace(job, gpus=8)]) == 8


def fleet() -> Fleet:
    hosts = tuple(Host(name=n, address=n, user="u", role=r) for n, r in (("login", "login"), ("dgx1", "node")))  # type: ignore[arg-type]
    return Fleet(name="f", hosts=hosts, slurm="ours", storage=Storage(path="/s"))


def fake(found: Mapping[str, Mapping[int, str]]) -> Connect:
    """Hosts that print, for the n-th probe of any script, what is given; nothing else."""

    def connect(name: str) -> Remote:
        if name not in found:
            raise Unreachable(f"{name}: no answer")

        def run(script: str, progress: Progress | None = None) -> Output:  # noqa: ARG001
            mark = f"\x1e{token_of(script)} "
            frames = "".join(f"{mark}{n}\n{found[name].get(n, '')}\n{mark}{n}=0\n" for n in range(20))
            return Output(stdout=f"{frames}{mark}end\n", stderr="", status=0)

        return run

    return connect


def test_nothing_left() -> None:
    """Clean hosts: nothing found, and it says where and for what it looked."""
    done = scan(fleet(), "lab", fake({"login": {}, "dgx1": {}}))
    done.raise_left()
    assert done.hosts == ("login", "dgx1")
    assert {"processes", "jobs", "ports", "claims", "shared memory"} <= set(done.looked_at)


def test_what_is_left_is_named() -> None:
    """Each finding by host; a host that can't be looked at is no proof of absence."""
    done = scan(fleet(), "lab", fake({"login": {}, "dgx1": {0: "ours\tslipway\tpid 7\tsleep 900"}}))
    with pytest.raises(LeftBehind, match=r"dgx1: processes: pid 7 of slipway: sleep 900\n.*sudo kill 7\n"):
        done.raise_left()
    with pytest.raises(LeftBehind, match=r"dgx1: .*no answer \(not looked at\)"):
        scan(fleet(), "lab", fake({"login": {}})).raise_left()


def test_claims_are_looked_for_where_they_are_made() -> None:
    """Without SLURM they lie on the hosts, as on a cluster of ours; on a site's, on storage."""
    here = "/var/lib/slipway"
    for slurm, place in (("ours", here), ("none", here), ("existing", f"{fleet().storage.path}/.slipway")):
        hosts = Hosts({"login": {}, "dgx1": {}})
        it = replace(fleet(), slurm=cast(SlurmMode, slurm))
        scan(it, "lab", hosts)
        assert all(f"{place}/claims/*/lab" in script for _, script in hosts.asked)
        assert all(paths.claims(it) in script for _, script in hosts.asked)
