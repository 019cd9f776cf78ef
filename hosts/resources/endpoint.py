"""A served model, ready when a chat completion comes back with tokens in it; waiting for that shows the phase."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts.errors import Unknown
from hosts.resources.programs import run
from hosts.resources.slurm_job import queue
from hosts.state import Base


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Base):
    """The endpoint of the stack's SLURM job or units, asked from the login host; the key is read from its file there.

    `state` is `ready`, or why not. `timeout_s` bounds the wait after the job has started to run, not its time in the
    queue. `address` ("": that of the job's node), `certificate`, `units` and `fabric` (NCCL's transport, which must be
    the declared one) are those of `hosts/programs/ready.py`. `user` ("": ourselves) is whose the job is.
    """

    kind: ClassVar[str] = "Endpoint"
    removable: ClassVar[bool] = False
    stack: str
    folder: str
    port: str
    model: str
    api_key_file: str
    user: str = ""
    address: str = ""
    certificate: str = ""
    units: tuple[str, ...] = ()
    fabric: tuple[str, ...] = ()
    timeout_s: str = "3600"
    fingerprint: str = ""
    """The job's that is waited for: another job is another endpoint, although it answers at the same place."""
    state: str = "ready"

    @property
    def key(self) -> str:
        return f"endpoint:{self.stack}"

    def _run(self, mode: str) -> str:
        queued = "" if self.units else f"{queue(self.stack, self.folder, self.user)}\nour_jobs"
        return run("ready", mode, self.served, self.timeout_s, queued)

    @property
    def served(self) -> str:
        """What the program is asked about, as it reads it."""
        named = {"stack": self.stack, "folder": self.folder, "port": self.port, "model": self.model}
        where = {"address": self.address, "certificate": self.certificate, "units": self.units}
        fabric = {"fabric": self.fabric} if self.fabric else {}
        return json.dumps({**named, "key_file": self.api_key_file, **where, **fabric})

    def probe(self) -> str:
        return self._run("probe")

    def parse(self, out: str) -> Self | None:
        words = out.strip().splitlines()[-1:] or [""]
        if words[0].startswith("ready "):
            return replace(self, state="ready")
        if words[0].startswith("not ready: "):
            return replace(self, state=words[0])
        if words[0].startswith("unknown: "):
            raise Unknown(words[0][len("unknown: ") :])
        raise Unknown(f"its probe printed {out[-300:]!r}")

    def observed(self, out: str) -> Mapping[str, str]:
        words = out.split()
        if words[:1] != ["ready"]:
            return {}
        return {"endpoint": words[1], "job": words[2]} | ({"fabric": words[3]} if words[3:] else {})

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        yield self._run("wait")

    def remove(self) -> Iterator[str]:
        return iter(())
