"""Kubernetes: one pod of the deployment's image in a namespace, held against the namespace's quota."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from hosts.problem import Problem
from hosts.resources.endpoint import Endpoint
from hosts.state import fingerprint
from infra import runtime
from infra.command import Command
from infra.deployment import Deployment
from infra.launchers import unbuilt
from infra.launchers.process import typed
from infra.placement import Placement
from infra.protocols import Engine, Rendezvous
from infra.sizes import kubernetes_gib


class Kubernetes(unbuilt.Unbuilt):
    """The launcher `kubernetes`."""

    name: ClassVar[str] = "kubernetes"
    offers: ClassVar[frozenset[Rendezvous]] = frozenset({"single"})
    options: ClassVar[tuple[str, ...]] = ("gpus", "cpus", "mem", "shm")

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """It starts nothing yet; it needs a namespace, an image and limits that the namespace's quota has room for."""
        yield from unbuilt.warning(self.name)
        if d.fleet.kubernetes is None:
            yield _problem("$.launcher.name", f"kubernetes on the fleet {d.fleet.name}", "a fleet with `kubernetes:`")
            return
        if not d.image:
            yield _problem("$.image", "nothing", "a container image by digest", why="pods run images")
        for key, value in (("mem", d.launcher.mem), ("cpus", d.launcher.cpus)):
            if not value:
                why = "a quota of memory or CPUs refuses pods without limits"
                yield _problem(f"$.launcher.{key}", "nothing", "what the pod may take", why=why)
        quota = d.fleet.kubernetes.quota
        asked = (
            ("mem", "MiB of memory", _mib(d.launcher.mem), quota.memory_mib),
            ("cpus", "CPUs", d.launcher.cpus, quota.cpus),
            ("gpus", "GPUs", d.parallelism.world, quota.gpus),
        )
        for key, what, wanted, given in asked:
            if given and wanted > given:
                yield _problem(
                    f"$.launcher.{key}",
                    f"{wanted} {what}",
                    f"at most {given}, the quota of the namespace {d.fleet.kubernetes.namespace}",
                    fix="ask for a larger quota, and put it into the fleet's file when it is given",
                )
        if d.launcher.shm and _mib(d.launcher.shm) >= _mib(d.launcher.mem) > 0:
            why = "what lies in it counts as the pod's memory"
            yield _problem("$.launcher.shm", d.launcher.shm, f"less than mem, {d.launcher.mem}", why=why)

    def endpoint(self, d: Deployment, place: Placement, engine: Engine) -> Endpoint:  # noqa: ARG002
        """Nowhere yet."""
        return Endpoint(stack=d.stack, folder="", port=str(d.port), model=d.served_name, api_key_file="")

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """The engine's own."""
        return tuple(engine.command(d, rank) for rank in place.ranks)

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """What runs in the pod."""
        return tuple(("the pod", typed(d, engine.command(d, rank), rank)) for rank in place.ranks)

    def files(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """The pod's manifest."""
        import yaml  # noqa: PLC0415 - only where a file is rendered

        return {"pod.yaml": yaml.safe_dump(pod(d, place, engine), sort_keys=False, width=120)}


def pod(d: Deployment, place: Placement, engine: Engine) -> dict[str, object]:
    """The manifest of the pod; requests equal limits, so that it is the last to be evicted."""
    assert d.fleet.kubernetes is not None
    command = engine.command(d, place.ranks[0])
    mark = fingerprint(command.line(), d.image, *d.model.files)
    env = {**runtime.environment(d, mark), **{name: str(value) for name, value in command.env.items()}}
    limits = {"cpu": str(d.launcher.cpus), "memory": d.launcher.mem, "nvidia.com/gpu": str(place.gpus_per_node)}
    mounts = [{"name": "storage", "mountPath": d.fleet.storage.path}, {"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108
    volumes = [
        {"name": "storage", "persistentVolumeClaim": {"claimName": d.fleet.kubernetes.volume}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": d.launcher.shm or "16Gi"}},
    ]
    probe = {"httpGet": {"path": "/health", "port": d.port}, "periodSeconds": 10, "failureThreshold": 360}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"slipway-{d.stack}",
            "namespace": d.fleet.kubernetes.namespace,
            "labels": {"slipway": d.stack},
            "annotations": {"slipway/fingerprint": mark},
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "nodeSelector": dict(d.fleet.kubernetes.node_selector),
            "containers": [
                {
                    "name": "engine",
                    "image": d.image,
                    "command": [str(word) for word in command.argv],
                    "env": [*({"name": name, "value": env[name]} for name in sorted(env)), *_secrets(d, command)],
                    "ports": [{"containerPort": d.port}],
                    "resources": {"requests": limits, "limits": dict(limits)},
                    "volumeMounts": mounts,
                    "startupProbe": probe,
                }
            ],
            "volumes": volumes,
        },
    }


def _secrets(d: Deployment, command: Command) -> Iterator[dict[str, object]]:
    """The variables whose value the kubelet reads from the stack's own Secret."""
    for variable, secret in sorted(command.secrets.items()):
        yield {"name": variable, "valueFrom": {"secretKeyRef": {"name": f"slipway-{d.stack}", "key": secret}}}


def _mib(quantity: str) -> int:
    return int(kubernetes_gib(quantity) * 1024)


def _problem(where: str, found: str, wanted: str, *, why: str = "", fix: str | None = None) -> Problem:
    return Problem(where=where, rule="launcher", found=found, wanted=wanted, why=why, fix=fix)
