"""Which resources a stack's removal by name is made of, on each kind of fleet."""

import subprocess
from collections.abc import Mapping

import pytest

from hosts.errors import Blocked, Unreachable
from hosts.fleet import Fleet, Host, SlurmMode, Storage
from hosts.resources.detached import Detached, kept_by_others, run_detached
from hosts.resources.remains import Containers, TemporaryFolders
from infra.operate.removal import remove
from tests.unit.talking_hosts import Hosts

SCAN = "read -r job state node rest"
"""A line of what looks for jobs that are left, in every scan."""
OURS = "backend=b\nholder=me@here\n"


def fleet(slurm: SlurmMode) -> Fleet:
    hosts = (Host(name="login", address="l", user="eva", role="login"), Host(name="n1", address="n", user="eva"))
    return Fleet(name="f", hosts=hosts, slurm=slurm, storage=Storage(path="/s"))


def run(slurm: SlurmMode, found: Mapping[str, Mapping[str, str]]) -> Hosts:
    """The hosts after a removal that ended as planned, as far as hosts that never change let it."""
    hosts = Hosts(found)
    remove(fleet(slurm), "st", hosts, backend="b", holder="me", lock_dir="/run/l", say=lambda _host, _line: None)
    return hosts


def asked(hosts: Hosts, host: str) -> str:
    return "\n".join(script for name, script in hosts.asked if name == host)


@pytest.mark.parametrize(
    ("slurm", "look", "wanted", "unwanted"),
    [
        ("ours", "queue\n", "st/intent", "LoadState"),
        ("ours", "", "p=/s/.slipway/st", "st/intent"),  # no SLURM there, so no job
        ("none", "unit slipway-st.rank0.service\n", "LoadState", "st/intent"),
        ("none", "unit slipway-st2.rank0.service\nunit slipway-st.$(id).service\n", "p=/s/.slipway/st", "LoadState"),
    ],
)
def test_what_is_looked_for(slurm: SlurmMode, look: str, wanted: str, unwanted: str) -> None:
    """A job where there may be one, units by their names; all of it is gone already."""
    gone = {
        "for f in": look,
        SCAN: "",
        "st/intent": "intent\n",
        "LoadState": "LoadState=not-found\n",
        "p=/": "absent\n",
    }
    hosts = run(slurm, dict.fromkeys(("login", "n1"), gone))
    on_login = "\n".join(
        script for name, script in hosts.asked if name == "login" and "for f in" not in script and SCAN not in script
    )
    assert wanted in on_login
    assert unwanted not in on_login
    assert "runuser -u" in asked(hosts, "n1")  # containers of the account that runs the stack
    assert "p=/s/.slipway/st" not in asked(hosts, "n1")  # shared storage is one host's


def test_claims_are_checked_first_and_go_last() -> None:
    """Of another backend: nothing is removed. Ours: each once where storage is shared."""
    look = "claim /var/lib/slipway/claims/fleet/st\nclaim /s/.slipway/claims/env-e-1/st\nclaim /etc/../x y/st\n"
    other = OURS.replace("=b", "=c")
    hosts = Hosts({name: {"for f in": look, "claims/fleet": other, "claims/env": OURS} for name in ("login", "n1")})
    with pytest.raises(Blocked, match="claimed from another Pulumi backend by me@here"):
        remove(fleet("ours"), "st", hosts, backend="b", holder="me", lock_dir="/l", say=lambda *_: None)
    assert len(hosts.asked) == 4  # a look and a read on each
    assert "claims/env-e-1/st" not in asked(hosts, "n1")
    assert "x y" not in asked(hosts, "login")


def test_every_host_that_is_lost_is_named() -> None:
    with pytest.raises(Unreachable, match=r"(?s)nothing was removed.*login: no answer.*n1: no answer"):
        run("ours", {})


@pytest.mark.parametrize(
    "script",
    [
        run_detached("n", "sleep 'a b'", "/s/it's", "/s/claims/env-e/st"),
        run_detached("n", "true", "/s/l"),
        kept_by_others("st"),
        *(
            text
            for it in (
                Detached(stack="st"),
                Containers(stack="st", user="u"),
                Containers(stack="st"),
                TemporaryFolders(stack="st", user="u"),
            )
            for text in (it.probe(), *it.remove())
        ),
    ],
)
def test_all_shell_parses(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_detached_work_has_the_tag_of_its_stack() -> None:
    """In its environment, by `env`: a unit's own settings would be taken for a unit of the stack."""
    script = run_detached("n", "true", "/s/l", "/s/claims/env-e/st")
    assert script.count("env SLIPWAY_STACK=st SLIPWAY_CLAIM=/s/claims/env-e/st flock /s/l.running") == 2
    assert "SLIPWAY" not in run_detached("n", "true", "/s/l")
