"""The cluster without Pulumi: a dry run is refused where a real run is, and who fails does not stop the others."""

from dataclasses import replace

import pytest

from hosts.errors import Blocked, Failed, InputError, Unreachable
from hosts.fleet import Fleet, Host, Storage
from hosts.resources.system import Requirement, Sysctl
from hosts.state import Stage
from infra.operate.bootstrap import Done, bootstrap, errors, raise_errors, table, to_json
from tests.unit.talking_hosts import Hosts

HOSTS = tuple(Host(name=name, address=name, user="u", role=role) for name, role in (("login", "login"), ("n1", "node")))  # type: ignore[arg-type]
FLEET = Fleet(name="f", hosts=HOSTS, slurm="ours", storage=Storage(path="/s"))
NEED = Requirement(name="os", check="cat /etc/os-release", wanted="Debian 12", fix="install it")
SETTING = Sysctl(name="net.core.somaxconn", value="4096")
STAGES = (
    Stage(name="requirements", hosts={"login": (NEED,), "n1": (NEED,)}),
    Stage(name="base", hosts={"login": (SETTING,), "n1": (SETTING,)}, keep=True),
)
GOOD = {"os-release": "ok", "sysctl": "=4096\n--\nnet.core.somaxconn = 4096"}
DRIFTED = {"os-release": "ok", "sysctl": "=128\n--\nnet.core.somaxconn = 4096"}


def no_secret(name: str) -> bytes:
    raise Failed(f"no secret {name}")


def run(hosts: Hosts, *, keep_going: bool = False, fleet: Fleet = FLEET) -> list[Done]:
    return bootstrap(
        fleet,
        STAGES,
        hosts,
        apply=False,
        keep_going=keep_going,
        holder="me",
        secrets=no_secret,
        say=lambda _host, _line: None,
    )


def test_nothing_to_do() -> None:
    done = run(Hosts({"login": GOOD, "n1": GOOD}))
    assert table(done, apply=False) == "nothing to do: every host is as it should be"
    assert to_json(FLEET, done)["changed"] is False


def test_what_differs_is_shown() -> None:
    done = run(Hosts({"login": GOOD, "n1": DRIFTED}))
    shown = table(done, apply=False)
    assert "base      n1         would change 1" in shown
    assert "~ sysctl:net.core.somaxconn" in shown
    assert "3 host stage(s) were as they should be" in shown
    assert to_json(FLEET, done)["changed"] is True


def test_a_dry_run_is_refused_like_a_real_one() -> None:
    """What must hold and does not, or a host that can't be read, is no "nothing to do"."""
    with pytest.raises(Blocked, match="n1: requirement:os: found Fedora, wanted Debian 12; install it"):
        run(Hosts({"login": GOOD, "n1": {**GOOD, "os-release": "Fedora"}}))
    with pytest.raises(Unreachable, match="n1: no answer"):
        run(Hosts({"login": GOOD}))


def test_keep_going_leaves_out_who_failed() -> None:
    hosts = Hosts({"login": DRIFTED})
    done = run(hosts, keep_going=True)
    assert [(stage, host) for stage, host, _ in errors(done)] == [("requirements", "n1")]
    assert {name for name, _ in hosts.asked} == {"login"}
    assert "base      login      would change 1" in table(done, apply=False)
    with pytest.raises(Failed, match="n1: no answer"):
        raise_errors(done)


def test_somebody_elses_cluster_is_refused() -> None:
    with pytest.raises(InputError, match="not Slipway's to set up"):
        run(Hosts({}), fleet=replace(FLEET, slurm="existing"))
