"""The Pulumi program: one stack file, proven and laid out in stages, one resource each."""

import getpass
import os
import socket
import sys
from pathlib import Path

import pulumi

sys.path.insert(0, str(Path(__file__).parent.parent))

from hosts.errors import SlipwayError  # noqa: E402
from hosts.state import Stage  # noqa: E402
from infra import spec  # noqa: E402
from infra.components import Group, StageResource  # noqa: E402
from infra.controller import backend, secrets_folder  # noqa: E402
from infra.desired import desired  # noqa: E402
from infra.operate.secrets import SecretStore  # noqa: E402

SERVING = ("environment", "weights", "launch", "ready")


def main() -> None:
    """Declares the stack's stages: the claim, then the cluster's (where it is ours), then the deployment's."""
    stack = pulumi.get_stack()
    deployment = spec.load(stack)
    fleet = deployment.fleet
    given = pulumi.Config().get_object("secrets") or {}
    secrets = SecretStore(secrets_folder(os.environ, Path.home()), os.environ, given, fleet.name)
    stages = desired(
        deployment,
        backend=backend(os.environ, Path.home()),
        holder=f"{getpass.getuser()}@{socket.gethostname()}",
        digests=secrets.digests(fleet),
    )
    claim = StageResource(stack, stages[0], fleet, pulumi.ResourceOptions())
    cluster: list[Stage] = [stage for stage in stages[1:] if stage.name not in SERVING]
    serving: list[Stage] = [stage for stage in stages[1:] if stage.name in SERVING]
    made = [claim]
    if cluster:
        made += Group("Cluster", stack, cluster, fleet, after=[claim]).stages[-1:]
    service = Group("Serving", stack, serving, fleet, after=made)

    pulumi.export("endpoint", service.stages[-1].observed.apply(lambda seen: (seen or {}).get("endpoint", "")))
    pulumi.export("model", str(deployment.args.get("served-model-name", deployment.model.name)))
    pulumi.export("engine", f"{deployment.engine} {deployment.release}")
    pulumi.export(
        "fingerprint",
        next(r.fingerprint for s in serving for rs in s.hosts.values() for r in rs if r.kind == "SlurmJob"),
    )  # type: ignore[attr-defined]


try:
    main()
except SlipwayError as error:
    raise pulumi.RunError(str(error)) from None
