"""Where secret values come from: Pulumi's encrypted config, the environment, or a private file made on first use."""

import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hosts.errors import Failed
from hosts.fleet import Fleet

MADE_HERE = frozenset({"munge-key"})
"""Secrets that every host of a fleet must share, so no host can make its own; made here once where nobody gives one."""


class SecretStore:
    """Values by name for one fleet. `config` is `slipway:secrets` decrypted, `folder` private to this user."""

    def __init__(self, folder: Path, environ: Mapping[str, str], config: Mapping[str, str], fleet: str) -> None:
        self.folder = folder / fleet
        self.environ = environ
        self.config = config

    def __call__(self, name: str) -> bytes:
        """The value. Raises Failed where there is none, saying where one may be put."""
        value = self._given(name)
        if value is not None:
            return value
        if name in MADE_HERE:
            return self._made(name)
        variable = _variable(name)
        raise Failed(
            f"no value for the secret {name}: run `pulumi config set --secret --path slipway:secrets.{name}`, "
            f"or set {variable}"
        )

    def digests(self, fleet: Fleet) -> dict[str, str]:
        """sha256 by name of every secret that has a value, or must have one on this fleet."""
        found = {}
        for name in ("munge-key", "api-key"):
            needed = name in MADE_HERE and fleet.slurm == "ours"
            value = self(name) if needed else self._given(name)
            if value is not None:
                found[name] = hashlib.sha256(value).hexdigest()
        return found

    def _given(self, name: str) -> bytes | None:
        value = self.config.get(name) or self.environ.get(_variable(name))
        return value.encode() if value else None

    def _made(self, name: str) -> bytes:
        path = self.folder / name
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix=f".{name}.") as new:  # of mode 0600
                new.write(secrets.token_hex(32))
                new.flush()
                with contextlib.suppress(FileExistsError):  # another run made it a moment ago
                    os.link(new.name, path)  # whole or not at all: half a key would lock every host out of the cluster
        value = path.read_bytes()
        if not value:
            raise Failed(f"{path} is empty, wanted the secret {name}; restore it, or remove it and a new one is made")
        return value


def _variable(name: str) -> str:
    return "SLIPWAY_SECRET_" + name.replace("-", "_").upper()
