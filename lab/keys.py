"""The operator's key, each node's host key, and the file that pins them; they outlive `lab.down`."""

from collections.abc import Iterable
from pathlib import Path

from lab import host, paths


def identity() -> Path:
    """The private key that `ops` on every node accepts; made once."""
    return generated(paths.lab() / "id_ed25519", "slipway-lab")


def host_key(node: str) -> Path:
    """The private host key of a node: its own, and the same after `lab.down` and `lab.up`."""
    return generated(paths.lab() / "hostkeys" / node, node)


def known_hosts() -> Path:
    return paths.lab() / "known_hosts"


def public(private: Path) -> str:
    return private.with_name(f"{private.name}.pub").read_text().strip()


def generated(path: Path, comment: str) -> Path:
    """An ed25519 key at `path`; both files are there or, after a kill, made anew."""
    public_path = path.with_name(f"{path.name}.pub")
    if not (path.exists() and public_path.exists()):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for half in (path, public_path):
            half.unlink(missing_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", new])
        new.with_name(f"{new.name}.pub").replace(public_path)
        new.replace(path)  # last: who sees the private half sees both
    return path


def pin(addresses: Iterable[tuple[str, str]]) -> None:
    """Write known_hosts for (node, address) pairs, keeping other lines; readers never see half of it."""
    file = known_hosts()
    lines = dict(line.split(" ", 1) for line in (file.read_text().splitlines() if file.exists() else []) if " " in line)
    for node, address in addresses:
        kind, key, *_ = public(host_key(node)).split()
        lines[address] = f"{kind} {key}"
    text = "".join(f"{address} {lines[address]}\n" for address in sorted(lines))
    if not file.exists() or file.read_text() != text:
        new = file.with_name(".known_hosts.new")
        new.write_text(text)
        new.replace(file)


def ssh(address: str, *options: str) -> list[str]:
    """The plain ssh command line to a node, host key pinned, nothing read from the user's own configuration."""
    return [
        "ssh", "-F", "none", "-i", str(identity()), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
        "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known_hosts()}",
        "-o", "GlobalKnownHostsFile=none", "-o", "ConnectTimeout=5",
        "-o", "ServerAliveInterval=5", *options, f"ops@{address}",
    ]  # fmt: skip
