"""The line that brings an endpoint inside a fleet to the machine of the person who asks."""

import shlex
from urllib.parse import urlsplit

from hosts.fleet import Fleet


def tunnel(fleet: Fleet, endpoint: str) -> str:
    """An `ssh -L` command through the login host, by the key and the pinned host keys that Slipway itself uses."""
    parts = urlsplit(endpoint)
    login = fleet.login
    words = ["ssh", "-N", "-L", f"{parts.port}:{parts.hostname}:{parts.port}"]
    if fleet.identity:
        words += ["-o", f"IdentityFile={fleet.identity}"]  # ssh itself opens `~` in an option
    if fleet.known_hosts:
        words += ["-o", f"UserKnownHostsFile={fleet.known_hosts}"]
    if login.jump:
        jump = fleet.host(login.jump)
        words += ["-J", f"{jump.user}@{jump.address}:{jump.port}"]
    if login.port != 22:
        words += ["-p", str(login.port)]
    return shlex.join([*words, f"{login.user}@{login.address}"])
