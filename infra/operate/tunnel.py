"""How a person reaches an endpoint: the lines that bring it to the own machine, read its key where it lies, and ask."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from hosts.fleet import Fleet, Host
from hosts.shell import quote
from infra import paths
from infra.deployment import Deployment, at


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An endpoint for clients: where its API key lies, a line that asks it, and the tunnel to it ("": not needed)."""

    api_key_file: str
    login: str
    curl: str
    tunnel: str

    def to_json(self) -> dict[str, str | None]:
        """The keys that `status --json` and `serve --json` have besides those of the state."""
        return {"api_key_file": self.api_key_file, "curl": self.curl, "tunnel": self.tunnel or None}

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"  API key    {self.api_key_file} on {self.login}"
        if self.tunnel:
            yield f"not reachable from this machine; bring it here, in another terminal:\n  {self.tunnel}"
        yield f"ask it (the key is read on {self.login} and shown nowhere):\n  {self.curl}"


def client(d: Deployment, endpoint: str, pins: str, *, reachable: bool) -> Client:
    """What a client of a running stack needs. `pins` is the file with `known_hosts(fleet)`, "" where that is empty."""
    login = d.fleet.login
    read = f"{'sudo -n ' if login.sudo else ''}cat {quote(paths.api_key(d))}"
    key = shlex.join([*ssh(d.fleet, login, pins), _account(login), read])
    body = {"model": d.served_name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32}
    words = ["curl", "-sS", "-H", "@-", "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    # a header from standard input is in no list of processes
    asking = shlex.join([*words, *_address(endpoint, reachable=reachable)])
    return Client(
        api_key_file=paths.api_key(d),
        login=login.name,
        curl=f"{key} | sed 's/^/Authorization: Bearer /' | {asking}",
        tunnel="" if reachable else tunnel(d.fleet, endpoint, pins),
    )


def _address(endpoint: str, *, reachable: bool) -> list[str]:
    """curl's words for the URL; through the tunnel a certificate is still held to the endpoint's own name."""
    url = f"{endpoint}/v1/chat/completions"
    if reachable:
        return [url]
    parts = urlsplit(endpoint)
    if parts.scheme == "https":
        return ["--connect-to", f"{at(parts.hostname or '', parts.port or 0)}:localhost:{parts.port}", url]
    return [f"http://localhost:{parts.port}/v1/chat/completions"]


def tunnel(fleet: Fleet, endpoint: str, pins: str) -> str:
    """An `ssh -L` command through the login host, by the key and the pinned host keys that Slipway itself uses."""
    parts = urlsplit(endpoint)
    there = at(parts.hostname or "", parts.port or 0)
    words = ssh(fleet, fleet.login, pins)
    return shlex.join([words[0], "-N", "-L", f"{parts.port}:{there}", *words[1:], _account(fleet.login)])


def known_hosts(fleet: Fleet) -> str:
    """The host keys that the fleet file pins, as lines of a known_hosts file; "" where it pins none."""
    pinned = [host for host in fleet.hosts if host.host_key]
    names = [host.address if host.port == 22 else f"[{host.address}]:{host.port}" for host in pinned]
    keys = [" ".join(host.host_key.split()[:2]) for host in pinned]
    return "".join(f"{name} {key}\n" for name, key in zip(names, keys, strict=True))


def ssh(fleet: Fleet, host: Host, pins: str) -> list[str]:
    """`ssh` with the options that lead to a host: the fleet's identity, only its pinned keys, its jump host."""
    words = ["ssh"]
    if fleet.identity:
        words += ["-o", f"IdentityFile={fleet.identity}"]  # ssh itself opens `~` in an option
    files = [f'"{file}"' if " " in file else file for file in (pins, fleet.known_hosts) if file]
    if files:
        words += ["-o", f"UserKnownHostsFile={' '.join(files)}", "-o", "StrictHostKeyChecking=yes"]
    if host.jump:
        # by -J the jump host would be held to the person's own known_hosts: options are not handed on to it
        jump = fleet.host(host.jump)
        through = shlex.join([*ssh(fleet, jump, pins), "-W", "[%h]:%p", _account(jump)])
        words += ["-o", f"ProxyCommand={through}"]
    if host.port != 22:
        words += ["-p", str(host.port)]
    return words


def _account(host: Host) -> str:
    return f"{host.user}@{host.address}"
