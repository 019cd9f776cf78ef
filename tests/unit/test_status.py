"""The states of a stack, from what its login host prints and who can be reached."""

from pathlib import Path

import pytest

from hosts.schema import parse_yaml
from infra.deployment import Deployment
from infra.operate.status import Status, status
from tests.unit.stacks import STACK, parse
from tests.unit.talking_hosts import connect

TAG = "slipway=test,fingerprint=abc,intent=x"
RUNNING = f"20|RUNNING|n1|None|gres:gpu:8|1|2:00:00|2026-11-24T12:37:14|{TAG}"
QUEUED = f"21|PENDING||Resources|gres:gpu:8|1|0:00|N/A|{TAG}"
ENDED = (
    "JobId=5 Name=slipway-test JobState=FAILED StartTime=2026-11-24T00:17:27 EndTime=2026-11-24T01:17:27 "
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
    found = seen(d, claim="claimed\n", jobs="slurm_load_jobs error: Unable to contact slurm controller\nfailed\n")
    assert found.state == "unknown"
    assert "squeue failed" in found.why


def test_a_fleet_without_slurm_yet_is_absent(d: Deployment) -> None:
    assert seen(d, jobs="bash: line 3: squeue: command not found\nfailed\n").state == "absent"


def test_unreachable_hosts(d: Deployment) -> None:
    """Ready where a node is lost is degraded; without the login host nothing is concluded."""
    probes = {"ready.json": "ready http://n1:8000 20", "claimed": "claimed\nsubmitted\n", "%i|%T": RUNNING}
    found = status(d, connect({"login": probes, "n1": {}}))
    assert (found.state, found.hosts) == ("degraded", {"login": "ok", "n1": "ok", "n2": "n2: no answer"})
    assert "n2" in found.why
    found = status(d, connect({"n1": {}, "n2": {}}))
    assert (found.state, found.why) == ("unknown", "login: no answer")


def test_the_document_has_its_fixed_keys(d: Deployment) -> None:
    keys = {"stack", "state", "endpoint", "model", "jobs", "hosts", "gpu_hours", "ends_at"}
    assert keys <= set(seen(d).to_json())
