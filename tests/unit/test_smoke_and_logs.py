"""What `smoke` and `logs` say of a stack that is not up, and what ended a script that was cut short."""

from pathlib import Path

import pytest

from hosts.connection import KILLED, LOST, Output, Progress
from hosts.errors import Failed, Truncated
from hosts.schema import parse_yaml
from infra.deployment import Deployment
from infra.operate.job import ask_host
from infra.operate.logs import follow, logs
from infra.operate.smoke import smoke
from tests.unit.stacks import STACK, parse
from tests.unit.talking_hosts import connect


@pytest.fixture
def d(tmp_path: Path) -> Deployment:
    return parse(parse_yaml(STACK), tmp_path)


def test_an_absent_stack_is_not_asked_for_tokens(d: Deployment) -> None:
    with pytest.raises(Failed, match=r"^test is not up \(absent\): run `pulumi up -s test`$"):
        smoke(d, connect({"login": {}}))
    with pytest.raises(Failed, match=r"test: its job is dead; "):
        smoke(d, connect({"login": {"claims/fleet": "claimed\n", "ready": "its job is dead\n"}}))


@pytest.mark.parametrize(
    ("claimed", "why"),
    [
        (
            "",
            r"^test has no log: it is not up \(absent\), and a teardown removes its logs with /shared/.slipway/test; ",
        ),
        ("claimed\n", r"^test has no log yet: it is claimed, and nothing was started; run `pulumi up -s test`$"),
    ],
)
def test_no_log(d: Deployment, claimed: str, why: str) -> None:
    """With and without following it."""
    hosts = connect({"login": {"claims/fleet": claimed}})
    with pytest.raises(Failed, match=why):
        logs(d, hosts, 10)
    with pytest.raises(Failed, match=why):
        follow(d, hosts, 10, print)


def test_a_log(d: Deployment) -> None:
    hosts = connect({"login": {"claims/fleet": "claimed\n", "echo yes": "yes\n", "tail": "one\ntwo\n"}})
    assert logs(d, hosts, 10) == "one\ntwo\n"
    empty = connect({"login": {"claims/fleet": "claimed\n", "echo yes": "yes\n"}})
    assert logs(d, empty, 10) == ""


@pytest.mark.parametrize(
    ("status", "why"),
    [(5, "the shell exited with status 5"), (KILLED, "the shell was killed"), (LOST, "the connection was lost")],
)
def test_what_ended_a_script(status: int, why: str) -> None:
    """A script without its last frame: the shell on the host ended it, or the way there."""

    def run(script: str, progress: Progress | None = None) -> Output:  # noqa: ARG001
        return Output(stdout="", stderr="", status=status)

    with pytest.raises(Truncated, match=f"login: {why} before the script ended"):
        ask_host("login", lambda _name: run, "true")
