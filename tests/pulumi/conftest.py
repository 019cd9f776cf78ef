"""A throw-away Pulumi project over a loopback sshd: the real CLI, the real language host, the real provider."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from hosts.fleet import Host
from tests.sshd import sshd, start_sshd
from tools import activation

__all__ = ["sshd", "start_sshd"]

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import json, pathlib, sys
sys.path.insert(0, {root!r})
import pulumi
from hosts.resources import KINDS
from hosts.state import Stage, from_wire
from hosts.fleet import Fleet, Host, Storage
from infra.components import StageResource
wanted = json.loads((pathlib.Path(__file__).parent.parent / "wanted.json").read_text())
hosts = tuple(Host(**host) for host in wanted["fleet"]["hosts"])
storage = Storage(path=wanted["fleet"].get("storage", "/nowhere"))
fleet = Fleet(**(wanted["fleet"] | {{"hosts": hosts, "storage": storage}}))
after = []
for stage in wanted["stages"]:
    hosts = {{h: tuple(from_wire(r, KINDS) for r in rs) for h, rs in stage["hosts"].items()}}
    made = Stage(name=stage["name"], hosts=hosts, keep=stage.get("keep", False), lock=stage.get("lock", True))
    after.append(StageResource("s", made, fleet, pulumi.ResourceOptions(depends_on=after[-1:])))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project folder with its own backend."""

    folder: Path
    environment: dict[str, str]

    def want(self, fleet: dict[str, Any], *stages: dict[str, Any]) -> None:
        """What the program declares from now on."""
        (self.folder / "wanted.json").write_text(json.dumps({"fleet": fleet, "stages": stages}))

    def command(self, *words: str) -> list[str]:
        """The CLI's command line."""
        return ["pulumi", *words, "--non-interactive", "-C", str(self.folder), "-s", "s"]

    def run(self, *words: str, status: int = 0) -> str:
        """Runs the CLI to its end; both streams as one text."""
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == status, done.stdout
        assert "Traceback (most" not in done.stdout
        return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An initialised stack `s`, nothing in it."""
    folder = tmp_path / "project"
    (folder / "infra").mkdir(parents=True)
    (folder / "infra" / "__main__.py").write_text(PROGRAM.format(root=str(ROOT)))
    (folder / "Pulumi.yaml").write_text(
        f"name: slipway\nruntime: {{name: python, options: {{virtualenv: {sys.prefix}}}}}\nmain: infra\n"
        f"options: {{refresh: always}}\nplugins: {{providers: [{{name: slipway, path: {ROOT}/infra/plugin}}]}}\n"
    )
    (tmp_path / "backend").mkdir()
    environment = activation.environment(
        os.environ
        | {
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_BACKEND_URL": f"file://{tmp_path}/backend",
            "PULUMI_CONFIG_PASSPHRASE": "test",
        }
    )
    made = Project(folder=folder, environment=environment)
    subprocess.run(["pulumi", "stack", "init", "s", "-C", folder], env=environment, check=True, capture_output=True)
    return made


def fleet_of(*hosts: Host, identity: Path) -> dict[str, Any]:
    """A fleet as the program above reads it."""
    return {"name": "loopback", "slurm": "none", "identity": str(identity), "hosts": [asdict(host) for host in hosts]}
