"""The law of DESIGN.md, of every kind of resource: on nodes of the lab, over their own sshd.

Steps, then the probe parses to the desired value and a second plan is empty; what a hand changes is seen and repaired;
removal, twice, leaves nothing. The cases are in law_cases.py.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from hosts.converge import Report, converge, gather, plan
from hosts.errors import Blocked, StepFailed
from hosts.remote import Connections
from hosts.resources import KINDS, File, Requirement, Unit, User
from hosts.state import Plan, Resource, Stage
from lab import nodes
from tests.lab import law_cases
from tests.lab.commands import Run, on
from tests.lab.law_cases import CASES, FOLDER, LAB, NODE, SECRET, SERVICE, STORAGE, Case

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def connect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connections]:
    """Connections to the lab's fleet, over its sudo user; with SLURM and Podman on it, which some kinds need."""
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    nodes.up(3)
    on(LAB.login.name, "rm -f /etc/munge/munge.key")  # the value of whoever used the lab before: it would be held
    Run(tmp_path_factory.mktemp("law") / "backend")("invoke", "bootstrap-cluster", "--fleet", "lab")
    on(LAB.login.name, f"install -d {STORAGE}")
    connections = Connections(LAB)
    yield connections
    connections.close()
    on(LAB.login.name, f"rm -rf {STORAGE}")


class Law:
    """What is done to one case's resource, and what is seen of it."""

    def __init__(self, case: Case, connect: Connections) -> None:
        self.case, self.connect = case, connect
        self.wanted = Stage(name="law", hosts={case.node: (case.resource,)})
        self.needs = Stage(name="needs", hosts={case.node: case.needs})

    def converge(self, stage: Stage | None = None, *, absent: bool = False) -> Report:
        report = converge(
            stage or self.wanted, self.connect, apply=True, absent=absent, secrets=lambda _: SECRET, holder="law"
        )
        report.raise_errors()
        return report

    def look(self) -> tuple[Resource | None, Plan]:
        """The actual value, and the plan from there."""
        facts = gather(self.wanted, self.connect)
        return facts.seen[self.case.node][self.case.resource.key].actual, plan(self.wanted, facts)

    @contextmanager
    def given(self) -> Iterator[None]:
        """What the resource needs, for as long as it is looked at; itself absent at first."""
        on(self.case.node, f"mkdir -p {FOLDER}; {self.case.given}")
        self.converge(absent=True)
        self.converge(self.needs)
        try:
            yield
        finally:
            self.converge(self.needs, absent=True)
            on(self.case.node, f"rm -rf {FOLDER}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.resource.kind)
def test_law(case: Case, connect: Connections) -> None:
    """Every kind keeps it; a Requirement has no steps and blocks instead, and what is only looked at is not removed."""
    law, wanted = Law(case, connect), case.resource
    has_steps = not isinstance(wanted, Requirement)
    with law.given():
        assert law.converge().changed is has_steps
        actual, todo = law.look()
        assert actual == wanted
        assert (todo.changes, todo.blocked) == ((), ())

        on(case.node, case.drift)
        actual, todo = law.look()
        assert actual != wanted
        if has_steps:
            assert [change.key for change in todo.changes] == [wanted.key]
            law.converge()
        else:
            assert len(todo.blocked) == 1
            with pytest.raises(Blocked, match=wanted.key):
                law.converge()
            on(case.node, case.given)
        actual, todo = law.look()
        assert actual == wanted
        assert (todo.changes, todo.blocked) == ((), ())

        for expected in (wanted.removable, False):
            assert law.converge(absent=True).changed is expected
        assert law.look()[0] == (None if wanted.removable else wanted)


def test_no_kind_is_without_its_case() -> None:
    """A kind that is added is held to the law."""
    assert {case.resource.kind for case in CASES} == set(KINDS)


def test_another_fingerprint_restarts_a_unit(connect: Connections) -> None:
    """A process that was started with older configuration is not the wanted one, although it runs."""
    case = law_cases.unit()
    law = Law(case, connect)
    assert isinstance(case.resource, Unit)
    with law.given():
        law.converge()
        ask = f"systemctl show -p MainPID --value {case.resource.name}"
        first = on(NODE, ask)
        law.converge(Stage(name="law", hosts={NODE: (replace(case.resource, fingerprint="bbbb"),)}))
        assert on(NODE, ask) not in (first, "0")
        law.converge(absent=True)
        assert on(NODE, f"systemctl is-active {case.resource.name}", status=None) != "active"


def on_node(*resources: Resource) -> Stage:
    return Stage(name="law", hosts={NODE: resources})


def test_a_unit_that_dies_fails_with_its_log(connect: Connections) -> None:
    """A daemon that exits a moment after its start is not reported as running."""
    script = SERVICE.replace("/bin/sleep infinity", "/bin/sh -c 'echo bad configuration; exit 3'")
    wanted = on_node(
        File(path="/etc/systemd/system/slipway-bad.service", content=script),
        Unit(name="slipway-bad.service", fingerprint="aaaa"),
    )
    report = converge(wanted, connect, apply=True)
    with pytest.raises(StepFailed, match=r"slipway-bad"):
        report.raise_errors()
    converge(wanted, connect, apply=True, absent=True).raise_errors()


def test_a_users_number_is_never_changed(connect: Connections) -> None:
    """An account with another uid blocks, naming both numbers."""
    with pytest.raises(Blocked, match=r"exists with uid 1, wanted 64779"):
        converge(on_node(User(name="daemon", uid="64779", home="/")), connect, apply=True)


def test_sudo_and_its_refusal(connect: Connections) -> None:
    """The lab's user is not root, and scripts run as root by sudo; without it the message says what is missing."""
    ids = Requirement(name="root", check='[ "$(id -u)" = 0 ] && echo ok', wanted="root", fix="sudo")
    converge(on_node(ids), connect, apply=True).raise_errors()
    nodes.exec(NODE, ["mv", "/etc/sudoers.d", "/etc/sudoers.d.away"])
    try:
        with pytest.raises(Blocked, match="sudo without a password"):
            converge(on_node(ids), connect, apply=True)
    finally:
        nodes.exec(NODE, ["mv", "/etc/sudoers.d.away", "/etc/sudoers.d"])
