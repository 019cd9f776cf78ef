"""`--ttl`: times as people write them, and a job's limit that is only ever shortened."""

from pathlib import Path

import pytest

from hosts.errors import Failed, InputError
from hosts.schema import parse_yaml
from infra.deployment import Deployment
from infra.operate.lease import in_words, minutes_of, shorten
from tests.unit.stacks import STACK, parse
from tests.unit.talking_hosts import Hosts


def row(elapsed: str, limit: str) -> str:
    """The running job 7 as the login host prints it."""
    return f"job 7|RUNNING|n1|gres:gpu:8|1|{elapsed}|{limit}|N/A|abc|None\n"


@pytest.fixture
def d(tmp_path: Path) -> Deployment:
    return parse(parse_yaml(STACK), tmp_path)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("4h", 240), ("90m", 90), ("2d", 2880), ("1:30:00", 90), ("1-12:00:00", 2160), ("0:00:30", 1)],
)
def test_times(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["0m", "4", "h", "-4h", "4h30m", "1:30", "0:00:00", "4h; reboot", "٤h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--ttl"):
        minutes_of(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(720, "12 minutes"), (43200, "12 hours"), (60, "1 minute"), (90061, "1 day 1 hour 2 minutes"), (0, "0 minutes")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def login(listed: str, said: str = "done") -> Hosts:
    return Hosts({"login": {"squeue": listed, "scontrol": said}})


def test_counted_from_now(d: Deployment) -> None:
    """A job that has run for a while gets the time on top of that."""
    hosts = login(row("2:10:30", "1-00:00:00"))
    assert "job 7 ends 1 hour from now" in shorten(d, hosts, 60)
    assert "scontrol update jobid=7 TimeLimit=191 " in hosts.asked[-1][1]


def test_a_job_without_a_limit_gets_one(d: Deployment) -> None:
    hosts = login(row("0:00", "UNLIMITED"))
    shorten(d, hosts, 60)
    assert "TimeLimit=60 " in hosts.asked[-1][1]


def test_never_lengthened(d: Deployment) -> None:
    """An operator's SLURM would take it; the stack file's limit stands."""
    hosts = login(row("0:10", "1:00:00"))
    assert "its own limit of 1 hour before that; --ttl changed nothing" in shorten(d, hosts, 120)
    assert len(hosts.asked) == 1


def test_only_our_job(d: Deployment) -> None:
    """Neither a look-alike, nor a job of ours that ends anyway."""
    with pytest.raises(Failed, match="no live job"):
        shorten(d, login(row("0:10", "1:00:00").replace("RUNNING", "COMPLETING") + "foreign 9 mallory\n"), 5)


def test_a_refusal_is_passed_on(d: Deployment) -> None:
    with pytest.raises(Failed, match="slurm_update error: Access/permission denied"):
        shorten(d, login(row("0:10", "1:00:00"), "slurm_update error: Access/permission denied"), 5)
