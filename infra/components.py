"""Pulumi resources of ours: a stage, and the two components that group stages so that `pulumi up` reads as a tree."""

from collections.abc import Sequence

import pulumi

from hosts.fleet import Fleet
from hosts.state import Stage
from infra.wire import inputs

TYPE = "slipway:index:Stage"


class StageResource(pulumi.CustomResource):
    """One stage on all its hosts; `observed` is what it saw there (an endpoint's address)."""

    observed: pulumi.Output[dict[str, str]]

    def __init__(self, stack: str, stage: Stage, fleet: Fleet, options: pulumi.ResourceOptions) -> None:
        super().__init__(TYPE, stage.name, {**inputs(stack, stage, fleet), "observed": None}, options)


class Group(pulumi.ComponentResource):
    """Stages of one purpose, each after the one before and all after the claim."""

    def __init__(
        self, name: str, stack: str, stages: Sequence[Stage], fleet: Fleet, after: Sequence[StageResource]
    ) -> None:
        super().__init__(f"slipway:index:{name}", name.lower())
        self.stages: list[StageResource] = []
        for stage in stages:
            options = pulumi.ResourceOptions(parent=self, depends_on=[*after, *self.stages[-1:]])
            self.stages.append(StageResource(stack, stage, fleet, options))
        self.register_outputs({})
