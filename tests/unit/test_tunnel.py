"""The lines that a person copies to reach an endpoint, as that person's shell and ssh read them."""

import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.fleet import Fleet, Host, Storage
from hosts.schema import parse_yaml
from infra.deployment import Deployment
from infra.operate.tunnel import client, known_hosts, ssh, tunnel
from tests.unit.stacks import STACK, parse

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1hZGUgdXAsIGRvY3VtZW50YXRpb24gb25seTogbGdu"
LOGIN = Host(name="login", address="192.0.2.10", user="ops", role="login")
FLEET = Fleet(name="f", hosts=(LOGIN,), slurm="ours", storage=Storage(path="/s"))
JUMP = Host(name="door", address="192.0.2.9", user="me", port=2222, host_key=f"{KEY} me@door")
BEHIND = replace(FLEET, hosts=(JUMP, replace(LOGIN, jump="door", port=2022, host_key=KEY)))
ENDPOINT = "http://dgx1:8000"
PINS = "/home/me/.cache/slipway/known_hosts/f"
STRICT = "-o StrictHostKeyChecking=yes"


def test_plain() -> None:
    assert tunnel(FLEET, ENDPOINT, "") == "ssh -N -L 8000:dgx1:8000 ops@192.0.2.10"
    assert tunnel(FLEET, "http://[2001:db8::1]:8000", "").startswith("ssh -N -L '8000:[2001:db8::1]:8000' ")


def test_by_the_fleets_own_keys() -> None:
    """The same key and pinned host keys that Slipway uses: nothing new to trust."""
    line = tunnel(replace(FLEET, identity="~/.ssh/lab key", known_hosts="~/.cache/known hosts"), ENDPOINT, PINS)
    words = shlex.split(line)
    assert f'UserKnownHostsFile={PINS} "~/.cache/known hosts"' in words
    assert {"IdentityFile=~/.ssh/lab key", "StrictHostKeyChecking=yes"} <= set(words)


def test_pinned_keys_are_lines_of_a_known_hosts_file() -> None:
    assert known_hosts(BEHIND) == f"[192.0.2.9]:2222 {KEY}\n[192.0.2.10]:2022 {KEY}\n"
    assert known_hosts(FLEET) == ""


def test_through_a_jump_host() -> None:
    """Its key is held to the same file, which `-J` would not do."""
    inner = f"ssh -o UserKnownHostsFile={PINS} {STRICT} -p 2222 -W '[%h]:%p' me@192.0.2.9"
    words = shlex.split(tunnel(BEHIND, ENDPOINT, PINS))
    assert f"ProxyCommand={inner}" in words
    assert words[-3:] == ["-p", "2022", "ops@192.0.2.10"]


def test_ssh_reads_the_options(tmp_path: Path) -> None:
    """As OpenSSH itself prints what it would do."""
    if not shutil.which("ssh"):
        pytest.skip("no ssh here")
    pins = str(tmp_path / "a file")
    words = [
        *ssh(replace(BEHIND, known_hosts="/dev/null"), BEHIND.login, pins),
        "-F",
        "/dev/null",
        "-G",
        "ops@192.0.2.10",
    ]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "stricthostkeychecking true" in shown
    assert "port 2022" in shown
    assert any(line.startswith("userknownhostsfile ") and pins in line and "/dev/null" in line for line in shown)
    assert any(line.startswith("proxycommand ssh ") and "me@192.0.2.9" in line for line in shown)


@pytest.fixture
def d(tmp_path: Path) -> Deployment:
    return parse(parse_yaml(STACK), tmp_path)


def test_the_line_reads_the_key_where_it_lies(d: Deployment, tmp_path: Path) -> None:
    """Run by a shell: the key reaches curl as a header of its standard input, and is in nobody's arguments."""
    found = client(d, ENDPOINT, PINS, reachable=True)
    assert found.tunnel == ""
    assert found.api_key_file == "/shared/.slipway/test/api-key"
    for name, body in {
        "ssh": 'echo "$*" >"$0.argv"; printf secret-key',
        "curl": 'printf "%s\\n" "$@" >"$0.argv"; cat >"$0.stdin"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    subprocess.run(["sh", "-c", found.curl], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    assert (tmp_path / "curl.stdin").read_text() == "Authorization: Bearer secret-key"
    argv = (tmp_path / "curl.argv").read_text()
    assert "secret-key" not in argv
    assert argv.splitlines()[-1] == "http://dgx1:8000/v1/chat/completions"
    assert (tmp_path / "ssh.argv").read_text().endswith("ops@192.0.2.10 sudo -n cat /shared/.slipway/test/api-key\n")


@pytest.mark.parametrize(
    ("endpoint", "end"),
    [
        ("http://dgx1:8000", ["http://localhost:8000/v1/chat/completions"]),
        (
            "https://dgx1:8000",
            ["--connect-to", "dgx1:8000:localhost:8000", "https://dgx1:8000/v1/chat/completions"],
        ),
    ],
)
def test_through_the_tunnel(endpoint: str, end: list[str], d: Deployment) -> None:
    found = client(d, endpoint, "", reachable=False)
    assert found.tunnel.startswith("ssh -N -L 8000:dgx1:8000 ")
    assert shlex.split(found.curl)[-len(end) :] == end
    shown = "\n".join(found.lines())
    assert all(text in shown for text in (found.curl, found.tunnel, found.api_key_file))
    assert found.to_json()["tunnel"] == found.tunnel
