"""What a login host prints, as jobs, GPU-hours and findings; a fake host is a function from script to output."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from hosts.connection import Connect, Output, Progress, Remote
from hosts.errors import Failed, LeftBehind, Unreachable
from hosts.fleet import Fleet, Host, SlurmMode, Storage
from hosts.schema import parse_yaml
from hosts.shell import token_of
from infra import paths
from infra.operate.absence import scan
from infra.operate.job import (
    Job,
    ended_probe,
    gpu_hours,
    gpus_of,
    live_probe,
    parse_ended,
    parse_foreign,
    parse_live,
    seconds_of,
)
from roles.slurm import COMPLETIONS
from tests.unit.fake_slurm import Slurm, own, theirs
from tests.unit.stacks import STACK, parse
from tests.unit.talking_hosts import FRAME, Hosts

LIVE = "job 20|RUNNING|dgx1|gres:gpu:8|2|1-02:03:04|2-00:00:00|2026-11-24T12:37:14|abc|None"
ENDED = (
    "JobId=5 UserId=slipway(64100) GroupId=slipway(64100) Name=slipway-lab JobState=FAILED "
    "TimeLimit=720 StartTime=2026-11-24T00:17:27 "
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
    """A job of ours, one whose row is cut, and a queue that can't be read."""
    (job,) = parse_live(f"{LIVE}\njob 21|RUNNING|dgx2\nforeign 22 eva\n")
    assert (job.id, job.node, job.gpus, job.fingerprint, job.limit) == ("20", "dgx1", 16, "abc", "2-00:00:00")
    assert gpu_hours([job]) == pytest.approx(16 * 93784 / 3600)
    with pytest.raises(Failed, match="squeue failed on the login host: slurm_load_jobs error: Unable"):
        parse_live("failed slurm_load_jobs error: Unable to contact slurm controller\n")


def test_look_alikes() -> None:
    """Every job with the name that is not ours; of an array its number, and no text that is no user's name."""
    rows = "foreign 20 slipway\nforeign 22 DOM\\eva\nforeign 23_[1-9] mallory\nforeign 24 \x1b[2J\nforeign x y\n"
    assert [(job.id, job.user) for job in parse_foreign(f"{LIVE}\n{rows}")] == [("22", "DOM\\eva"), ("23", "mallory")]


def test_ended_jobs() -> None:
    """The completion log's lines, each job once, and accounting's; of the stack's own jobs alone."""
    (job,) = parse_ended(f"ours 5\n{ENDED}\n{ENDED}\n{ENDED.replace('JobId=5', 'JobId=6')}\n")
    assert (job.id, job.state, job.seconds, job.gpus) == ("5", "FAILED", 3600, 0)
    (counted,) = parse_ended("ours 7\n7|COMPLETED|7200|billing=2,gres/gpu=8,node=1\n8|COMPLETED|7200|gres/gpu=8\n")
    assert gpu_hours([counted]) == 16
    assert gpu_hours([replace(job, gpus=8)]) == 8


def test_a_job_with_two_records_has_no_known_cost() -> None:
    """One of them was written into the log by the name of somebody's job."""
    forged = ENDED.replace("EndTime=2026-11-24T01", "EndTime=2026-12-24T01")
    for lines in (f"{ENDED}\n{forged}\n{ENDED}\n", f"{forged}\n{ENDED}\n{forged}\n"):
        (job,) = parse_ended(f"ours 5\n{lines}")
        assert (job.state, job.seconds) == ("with two records that differ", 0)
    assert parse_ended(f"ours 5\n{forged}\n", [Job(id="5", state="RUNNING")]) == []


def test_the_jobs_of_a_stack_that_have_ended(tmp_path: Path) -> None:
    """By the ids of its logs and of its intent; another user's and another folder's jobs of the name do not count."""
    d = parse(parse_yaml(STACK), tmp_path)
    d = replace(d, fleet=replace(d.fleet, slurm="existing", storage=Storage(path=str(tmp_path))))
    folder = Path(paths.job_folder(d))
    folder.mkdir(parents=True)
    for name in ("job-5.out", "job-x.out", "exit-9", "job-6.out.old"):
        (folder / name).touch()
    (folder / "intent").write_text("u-1 7 born\n")
    slurm = Slurm(tmp_path)
    us = slurm.out("printf '%s(%s)' $(id -un) $(id -u)")
    lines = [
        ENDED.replace("JobId=5", f"JobId={number}").replace("slipway(64100) G", f"{user} G").replace("lab", name)
        for number, user, name in (
            (5, us, "test"),
            (7, us, "test"),
            (8, us, "test"),
            (5, "eva(9)", "test"),
            (5, us, "no"),
        )
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    shown = slurm.out(ended_probe(d).replace(COMPLETIONS, str(tmp_path / "log")))
    assert [job.id for job in parse_ended(shown)] == ["5", "7"]
    (tmp_path / "log").unlink()
    (slurm.folder / "sacct").write_text(f"#!/bin/sh\necho $* >{tmp_path}/argv\necho '5|FAILED|60|gres/gpu=8'\n")
    (slurm.folder / "sacct").chmod(0o755)
    assert gpu_hours(parse_ended(slurm.out(ended_probe(d).replace(COMPLETIONS, str(tmp_path / "log"))))) == 8 / 60
    assert f" --user={os.getuid()} --name=slipway-test " in (tmp_path / "argv").read_text()


def test_live_jobs_are_those_of_our_user(tmp_path: Path) -> None:
    d = parse(parse_yaml(STACK), tmp_path)
    d = replace(d, fleet=replace(d.fleet, slurm="existing", storage=Storage(path=str(tmp_path))))
    tag, name = "slipway=test,fingerprint=ab,intent=u-1", "slipway-test"
    slurm = Slurm(tmp_path, *(who(n, tag, paths.job_folder(d), name=name) for who, n in ((own, "7"), (theirs, "8"))))
    shown = slurm.out(live_probe(d))
    assert [(job.id, job.node) for job in parse_live(shown)] == [("7", "n1")]
    assert [str(job).split(" has")[0] for job in parse_foreign(shown)] == ["job 8 of mallory"]


def test_what_is_left_in_the_queue_is_ours(tmp_path: Path) -> None:
    """A look-alike of another user is nothing that this stack has left behind."""
    it = replace(fleet(), slurm="existing", storage=Storage(path=str(tmp_path)))
    hosts = Hosts({"login": {}, "dgx1": {}})
    scan(it, "lab", hosts)
    (script,) = (script for name, script in hosts.asked if name == "login")
    tag, folder, name = "slipway=lab,fingerprint=ab,intent=u-1", f"{tmp_path}/.slipway/lab", "slipway-lab"
    slurm = Slurm(tmp_path, theirs("8", tag, folder, name=name))
    look = next(probe for probe in FRAME.split(script) if "our_jobs live" in probe).split("\n)")[0].lstrip("( ")
    assert slurm.out(look) == ""
    slurm.jobs = [*slurm.jobs, own("7", tag, folder, name=name), own("6", tag, folder, name=name, state="FAILED")]
    assert slurm.out(look) == "job 7 RUNNING on n1\n"


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
