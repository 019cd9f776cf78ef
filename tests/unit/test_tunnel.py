"""The `ssh -L` line, as a person's shell reads it."""

import shlex
from dataclasses import replace

from hosts.fleet import Fleet, Host, Storage
from infra.operate.tunnel import tunnel

LOGIN = Host(name="login", address="192.0.2.10", user="ops", role="login")
FLEET = Fleet(name="f", hosts=(LOGIN,), slurm="ours", storage=Storage(path="/s"))
ENDPOINT = "http://dgx1:8000"


def test_plain() -> None:
    assert tunnel(FLEET, ENDPOINT) == "ssh -N -L 8000:dgx1:8000 ops@192.0.2.10"


def test_by_the_fleets_own_keys() -> None:
    """The same key and pinned host keys that Slipway uses: nothing new to trust."""
    line = tunnel(replace(FLEET, identity="~/.ssh/lab key", known_hosts="~/.cache/known_hosts"), ENDPOINT)
    assert {"UserKnownHostsFile=~/.cache/known_hosts", "IdentityFile=~/.ssh/lab key"} <= set(shlex.split(line))
    assert "StrictHostKeyChecking" not in line


def test_through_a_jump_host() -> None:
    jump = Host(name="door", address="192.0.2.9", user="me", port=2222)
    fleet = replace(FLEET, hosts=(jump, replace(LOGIN, jump="door", port=2022)))
    assert tunnel(fleet, ENDPOINT) == "ssh -N -L 8000:dgx1:8000 -J me@192.0.2.9:2222 -p 2022 ops@192.0.2.10"
