"""Stack files and fleets that the tests of `infra` are made from: one that is right, and small changes to it."""

import copy
from dataclasses import replace
from pathlib import Path

from hosts.schema import parse_yaml
from infra import spec
from infra.deployment import Deployment
from infra.environments import Environment

FLEET = """
slurm: {slurm}
partition: gpu
storage: {{path: /shared, shared: true}}
hosts:
  login: {{role: login, address: 192.0.2.10, user: ops}}
  n1:
    {{address: 192.0.2.21, user: ops, cpus: 224, memory_mib: 2000000,
     gpus: {{count: 8, model: NVIDIA B300, memory_mib: 275040}}}}
  n2:
    {{address: 192.0.2.22, user: ops, cpus: 224, memory_mib: 2000000,
     gpus: {{count: 8, model: NVIDIA B300, memory_mib: 275040}}}}
"""
STACK = """
config:
  slipway:fleet: ours
  slipway:model: kimi-k2
  slipway:engine: {name: vllm, release: "0.19.1", args: {max-model-len: 65536, trust-remote-code: true}}
  slipway:launcher: {name: slurm, time: "24:00:00"}
  slipway:parallelism: {tensor: 8}
  slipway:environment: engine
"""
SOFTWARE = Environment(
    name="engine",
    lock="packages:\n- conda: https://channel.example/linux-64/python-3.11.9-h1_0.conda\n",
    requirements="nvidia-cuda-runtime-cu12==12.8.90 --hash=sha256:00\nvllm==0.19.1 --hash=sha256:00\n",
    tools="py-rattler==0.28.0 --hash=sha256:00\n",
)


def inventory(folder: Path) -> Path:
    """A folder with the fleets `ours`, `theirs` (its SLURM is somebody else's), `bare` (none, but containers)."""
    for name, slurm in {"ours": "ours", "theirs": "existing", "bare": "none"}.items():
        containers = "containers: podman\n" if name == "bare" else ""
        (folder / f"{name}.yaml").write_text(containers + FLEET.format(slurm=slurm))
    return folder


def environments(folder: Path) -> Path:
    """A folder with the environments `engine`, and `unlocked` without a lock."""
    for name, files in {
        "engine": {"conda.lock": SOFTWARE.lock, "requirements.txt": SOFTWARE.requirements},
        "unlocked": {"requirements.txt": SOFTWARE.requirements},
        "py-rattler": {"requirements.txt": SOFTWARE.tools},
    }.items():
        (folder / name).mkdir()
        for file, text in files.items():
            (folder / name / file).write_text(text)
    return folder


def changed(path: str, value: object, stack: str = STACK) -> object:
    """The stack's data with one value at a dotted path below `config` (`engine.args.x`) set, or taken out with None."""
    data = copy.deepcopy(parse_yaml(stack))
    assert isinstance(data, dict)
    first, *rest = path.split(".")
    place, key = data["config"], f"slipway:{first}"
    for name in rest:
        place = place.setdefault(key, {})
        key = name
    if value is None:
        del place[key]
    else:
        place[key] = value
    return data


def parse(data: object, tmp_path: Path, stack: str = "test") -> Deployment:
    """The deployment that the data says, on the fleets and environments of this file."""
    folders = tmp_path / "inventory", tmp_path / "environments"
    if not folders[0].exists():
        for folder in folders:
            folder.mkdir()
        inventory(folders[0])
        environments(folders[1])
    return spec.parse(stack, data, "Pulumi.test.yaml", inventory=folders[0], envs=folders[1])


def shipped(stack: str) -> Deployment:
    """A stack of this repository with a made-up environment: the lab's own lock is another on each machine."""
    return replace(spec.load(stack), software=SOFTWARE)
