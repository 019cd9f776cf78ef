"""The Pulumi program: one stack file, proven and laid out in stages, one resource each."""

import getpass
import os
import socket
import sys
from pathlib import Path

import pulumi

sys.path.insert(0, str(Path(__file__).parent.parent))

from hosts.errors import SlipwayError
from hosts.resources import Endpoint
from hosts.state import Stage
from hosts.text import printable
from infra import spec
from infra.components import Group, StageResource
from infra.controller import backend, secrets_folder
from infra.desired import desired
from infra.operate.secrets import SecretStore

SERVING = ("environment", "image", "gateway", "weights", "prepare", "launch", "ready")


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
    for problem in deployment.warnings:
        pulumi.warn(printable(str(problem).removeprefix("warning: ")), service)

    pulumi.export("endpoint", service.stages[-1].observed.apply(lambda seen: (seen or {}).get("endpoint", "")))
    pulumi.export("model", deployment.served_name)
    pulumi.export("engine", f"{deployment.engine} {deployment.release}")
    resources = (r for stage in serving for kept in stage.hosts.values() for r in kept)
    pulumi.export("fingerprint", next((r.fingerprint for r in resources if isinstance(r, Endpoint)), ""))


try:
    main()
except SlipwayError as error:
    raise pulumi.RunError(printable(str(error))) from None
