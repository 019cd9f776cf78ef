"""The states of a stack, from what its login host prints and who can be reached."""

from dataclasses import replace
from pathlib import Path

import pytest

import tasks
from hosts.schema import parse_yaml
from infra.deployment import Deployment, Parallelism
from infra.operate.status import Status, status
from tests.unit.stacks import STACK, changed, parse
from tests.unit.talking_hosts import connect

RUNNING = "job 20|RUNNING|n1|gres:gpu:8|1|2:00:00|1-00:00:00|2026-11-24T12:37:14|abc|None"
QUEUED = "job 21|PENDING||gres:gpu:8|1|0:00|1-00:00:00|N/A|abc|Resources"
ENDED = (
    "ours 5\nJobId=5 UserId=slipway(64100) GroupId=slipway(64100) Name=slipway-test JobState=FAILED "
    "StartTime=2026-11-24T00:17:27 EndTime=2026-11-24T01:17:27 "
    "NodeList=n1 Tres=cpu=2,mem=12G,node=1,billing=2"
)


@pytest.fixture
def d(tmp_path: Path) -> Deployment:
    return parse(parse_yaml(STACK), tmp_path)


def seen(d: Deployment, *, claim: str = "", jobs: str = "", record: str = "", ready: str = "not ready: x") -> Status:
    """The status where the login host prints this, and everyone can be reached."""
    probes = {"ready.json": ready, "claimed": claim, "completions": record, "%i|%T": jobs}
    return status(d, connect({"login": probes, "n1": {}, "n2": {}}))


def test_absent(d: Deployment) -> None:
    found = seen(d)
    assert (found.state, found.endpoint, found.gpu_hours, found.jobs) == ("absent", None, 0, ())


def test_claimed_and_nothing_submitted(d: Deployment) -> None:
    assert seen(d, claim="claimed\n").state == "pending"


def test_queued_says_why(d: Deployment) -> None:
    found = seen(d, claim="claimed\nsubmitted\n", jobs=QUEUED)
    assert (found.state, found.ends_at) == ("pending", None)
    assert "Resources" in found.why


def test_a_reason_does_not_command_the_terminal(d: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    found = seen(d, claim="claimed\nsubmitted\n", jobs=QUEUED.replace("Resources", "\x1b[2JResources"))
    tasks.show(found.to_json(), found.text(), json=False)
    assert capsys.readouterr().out.startswith("test: pending (its job is queued: \\x1b[2JResources)\n")


def test_starting_and_ready(d: Deployment) -> None:
    claim = "claimed\nsubmitted\n"
    assert seen(d, claim=claim, jobs=RUNNING).state == "starting"
    found = seen(d, claim=claim, jobs=RUNNING, ready="ready http://n1:8000 20")
    assert (found.state, found.endpoint) == ("ready", "http://n1:8000")
    assert (found.gpu_hours, found.ends_at) == (16, "2026-11-24T12:37:14")


def test_failed_names_the_job(d: Deployment) -> None:
    """The completion log names no GPUs: the job is counted with those that the stack asks for."""
    found = seen(d, claim="claimed\nsubmitted\n", record=ENDED)
    assert found.state == "failed"
    assert "job 5 is FAILED" in found.why
    assert found.gpu_hours == 8


def test_an_earlier_life_of_the_name_is_not_counted(d: Deployment) -> None:
    assert seen(d, claim="claimed\n", record=f"since 2026-11-24T01:17:28\n{ENDED}").gpu_hours == 0
    assert seen(d, claim="claimed\n", record=f"since 2026-11-24T00:00:00\n{ENDED}").gpu_hours == 8


def test_a_queue_that_can_not_be_asked_is_unknown(d: Deployment) -> None:
    found = seen(d, claim="claimed\n", jobs="failed slurm_load_jobs error: Unable to contact slurm controller\n")
    assert found.state == "unknown"
    assert "squeue failed" in found.why


def test_a_fleet_without_slurm_yet_is_absent(d: Deployment) -> None:
    assert seen(d, jobs="failed bash: line 3: squeue: command not found\n").state == "absent"


def test_a_look_alike_is_shown_and_counts_for_nothing(d: Deployment) -> None:
    found = seen(d, jobs="foreign 12 mallory\n")
    assert (found.state, found.jobs, found.gpu_hours) == ("absent", (), 0)
    assert "  job 12 of mallory has this stack's name; it is not this stack's job, and not counted" in found.text()
    assert found.to_json()["foreign_jobs"] == [{"id": "12", "user": "mallory"}]
    found = seen(d, claim="claimed\nsubmitted\n", jobs=f"{RUNNING}\nforeign 20 slipway\nforeign 12 mallory\n")
    assert ([job.id for job in found.jobs], [job.id for job in found.foreign_jobs]) == (["20"], ["12"])


def test_unreachable_hosts(d: Deployment) -> None:
    """Ready where a node is lost is degraded; without the login host nothing is concluded."""
    probes = {"ready.json": "ready http://n1:8000 20", "claimed": "claimed\nsubmitted\n", "%i|%T": RUNNING}
    found = status(d, connect({"login": probes, "n1": {}}))
    assert (found.state, found.hosts) == ("degraded", {"login": "ok", "n1": "ok", "n2": "n2: no answer"})
    assert "n2" in found.why
    found = status(d, connect({"n1": {}, "n2": {}}))
    assert (found.state, found.why) == ("unknown", "login: no answer")
    shown = found.text()
    assert shown.count("login: no answer") == 1
    assert "host login      does not answer" in shown
    assert "host n1         answers" in shown


def test_the_document_has_its_fixed_keys(d: Deployment) -> None:
    keys = {"stack", "state", "endpoint", "model", "jobs", "hosts", "gpu_hours", "ends_at"}
    assert keys <= set(seen(d).to_json())


RUNS, GONE = ("active", "success"), ("inactive", "success")
BROKE = ("failed", "exit-code")
TOKEN = "ready http://192.0.2.21:8000 n1/gateway"
BY_UNITS: list[tuple[str, tuple[tuple[str, str], ...], str, str, str]] = [
    ("absent", (), "", "", ""),
    ("pending", (), "claimed", "", "nothing is started yet"),
    ("starting", (RUNS, RUNS, RUNS), "claimed", "", "give no token yet"),
    ("ready", (RUNS, RUNS, RUNS), "claimed", TOKEN, ""),
    ("degraded", (RUNS, BROKE, RUNS), "claimed", "", "gateway on n1 is failed (exit-code)"),
    ("degraded", (RUNS, RUNS, GONE), "claimed", "", "rank-1 on n2 is inactive"),
    ("degraded", (RUNS, RUNS, BROKE), "claimed", TOKEN, "rank-1 on n2 is failed"),
    ("failed", (BROKE, GONE, BROKE), "claimed", "", "`pulumi up -s test` starts them again"),
]


@pytest.mark.parametrize("row", BY_UNITS, ids=[f"{row[0]}-{row[4]}" for row in BY_UNITS])
def test_a_stack_whose_processes_systemd_owns(
    row: tuple[str, tuple[tuple[str, str], ...], str, str, str], tmp_path: Path
) -> None:
    state, units, claim, ready, why = row
    found = status(by_units(tmp_path), connect(answers(units, claim, ready)))
    assert found.state == state
    assert why in found.why
    assert bool(found.why) == bool(why)
    assert found.endpoint == ("http://192.0.2.21:8000" if ready else None)
    assert [job.id for job in found.jobs] == ["rank-0", "gateway", "rank-1"][: len(units)]
    assert found.gpu_hours == 16


def test_a_host_of_units_that_is_gone(tmp_path: Path) -> None:
    """Ready is degraded; where nothing else is known to run, it is not said to be absent."""
    d, hosts = by_units(tmp_path), answers((RUNS, RUNS, RUNS), "claimed", TOKEN)
    found = status(d, connect({name: said for name, said in hosts.items() if name != "n2"}))
    assert (found.state, found.why, found.hosts["n2"]) == ("degraded", "n2 is not reachable", "n2: no answer")
    found = status(d, connect({name: said for name, said in hosts.items() if name != "login"}))
    assert (found.state, found.why) == ("unknown", "login: no answer")


def by_units(folder: Path) -> Deployment:
    """Two nodes of eight GPUs, without SLURM."""
    d = parse(changed("launcher", {"name": "systemd"}, STACK.replace("fleet: ours", "fleet: bare")), folder)
    return replace(d, parallelism=Parallelism(tensor=8, pipeline=2))


def answers(units: tuple[tuple[str, str], ...], claim: str, ready: str) -> dict[str, dict[str, str]]:
    """What each host prints, with units as (ActiveState, Result) of rank 0, the gateway and rank 1."""
    rows = [
        f"{name} LoadState=loaded ActiveState={active} Result={result} ActiveEnterTimestampMonotonic=0"
        for name, (active, result) in zip(("rank-0", "gateway", "rank-1"), units, strict=bool(units))
    ]
    used = "begin 0 n1 rank-0 8\nbegin 0 n2 rank-1 8\nend 3600 n2 rank-1 8\nend 3600 n1 rank-0 8\nnow 9000"
    login = {"ready.json": ready or "not ready: starting", "claimed": claim, "/runs": used}
    return {
        "login": login,
        "n1": {"systemctl show": "\n".join(["100", *rows[:2]])},
        "n2": {"systemctl show": "\n".join(["100", *rows[2:]])},
    }
