"""The law for what needs a real machine: users, packages, units, kernel settings, blocks; on a node of the lab."""

import os
from collections.abc import Iterator

import pytest

from hosts import fleet
from hosts.converge import converge, gather, plan
from hosts.errors import Blocked, StepFailed
from hosts.remote import Connections
from hosts.resources import Block, File, Package, Requirement, Sysctl, Unit, User
from hosts.state import Resource, Stage
from lab import nodes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

NODE = "dgx2"
SERVICE = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def connect() -> Iterator[Connections]:
    """Connections to the lab's fleet, over its sudo user."""
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    nodes.up(3)
    connections = Connections(fleet.load("lab"))
    yield connections
    connections.close()


def on_node(*resources: Resource) -> Stage:
    return Stage(name="law", hosts={NODE: resources})


@pytest.mark.parametrize(
    "resource",
    [
        User(name="slipway-law", uid="64777", home="/nonexistent", groups=("adm", "video")),
        Package(names=("hello", "tree")),
        Sysctl(name="net.ipv4.ip_local_reserved_ports", value="8000"),
        File(path="/etc/slipway law/a 'b'\n$c", content="x\n", owner="nobody", group="daemon", mode="0640"),
        File(path="/etc/slipway-guarded", content="ours\n", guard=True),
        Block(path="/etc/hosts", name="law", content="192.0.2.9 nowhere\n"),
    ],
    ids=lambda r: r.kind,
)
def test_law(resource: Resource, connect: Connections) -> None:
    """Steps, then the probe parses to the desired value and a second plan is empty; removal, twice, leaves nothing."""
    nodes.exec(NODE, ["mkdir", "-p", "/etc/slipway law"])
    wanted = on_node(resource)
    converge(wanted, connect, apply=True, absent=True).raise_errors()
    converge(wanted, connect, apply=True).raise_errors()
    facts = gather(wanted, connect)
    assert facts.seen[NODE][resource.key].actual == resource
    assert plan(wanted, facts).changes == ()
    for expected in (True, False):
        report = converge(wanted, connect, apply=True, absent=True)
        report.raise_errors()
        assert report.changed is expected
    assert gather(wanted, connect).seen[NODE][resource.key].actual is None


def test_law_of_a_unit(connect: Connections) -> None:
    """A unit runs with its fingerprint; another fingerprint restarts it, a stop by hand is drift, removal stops it."""
    file = File(path="/etc/systemd/system/slipway-law.service", content=SERVICE)
    unit = Unit(name="slipway-law.service", fingerprint="aaaa")
    wanted = on_node(file, unit)
    converge(wanted, connect, apply=True).raise_errors()
    assert not converge(wanted, connect, apply=False).changed
    first = nodes.exec(NODE, ["systemctl", "show", "-p", "MainPID", "--value", unit.name]).stdout
    changed = on_node(file, Unit(name=unit.name, fingerprint="bbbb"))
    converge(changed, connect, apply=True).raise_errors()
    assert nodes.exec(NODE, ["systemctl", "show", "-p", "MainPID", "--value", unit.name]).stdout != first
    nodes.exec(NODE, ["systemctl", "stop", unit.name])
    assert "active" in converge(changed, connect, apply=False).outcomes[0].planned[0]
    converge(changed, connect, apply=True).raise_errors()
    for expected in (True, False):
        report = converge(changed, connect, apply=True, absent=True)
        report.raise_errors()
        assert report.changed is expected
    assert nodes.exec(NODE, ["systemctl", "is-active", unit.name]).returncode != 0


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
