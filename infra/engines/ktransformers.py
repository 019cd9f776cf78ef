"""KTransformers' archived server (tags up to v0.4.1): experts of a GGUF on the CPUs, all else on one GPU."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from hosts.problem import Problem
from infra import paths
from infra.command import Command, Word
from infra.deployment import Argument, Deployment, Guards, at
from infra.engines.options import refused, rendered
from infra.flags import table as flag_table
from infra.placement import Placement, Rank
from infra.protocols import Rendezvous, Within

RESERVED: Mapping[str, str] = {
    "api_key": "leave it out: it would stand in the process list",
    "gguf_path": "set slipway:experts, the folder beside the models with the GGUF",
    "host": "leave it out: it is all addresses of its node, or that of slipway:endpoint.interface",
    "model_path": "set slipway:model",
    "port": "set slipway:port",
}
"""Options that Slipway sets; what to write instead."""


class Ktransformers:
    """The engine `ktransformers`: the server as Kimi-K2's guide starts it, from its checkout."""

    name: ClassVar[str] = "ktransformers"
    rendezvous: ClassVar[frozenset[Rendezvous]] = frozenset({"single"})
    roles: ClassVar[tuple[str, ...]] = ()
    guards: ClassVar[Guards] = "nothing"

    def unnamed(self, model: str) -> str:  # noqa: ARG002
        """It is always told how clients call the model."""
        return ""

    def releases(self) -> tuple[str, ...]:
        """The releases that have a flag table."""
        return flag_table.releases(self.name)

    def argument_problems(self, release: str, args: Mapping[str, Argument]) -> Iterator[Problem]:
        """Options that the release lacks, that Slipway sets, or whose value its parser refuses."""
        yield from flag_table.load(self.name, release).problems(args, RESERVED)

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """It comes in an image, for no package has the server; it takes one GPU and a GGUF."""
        if not d.image:
            yield refused(
                "$.environment",
                d.environment,
                "slipway:image with a checkout of the release as its working directory",
                why="the server lies in the repository's tree and in no package",
            )
        if not d.experts:
            yield refused("$.experts", "nothing", "the folder beside the models that holds the GGUF")
        if d.parallelism.world > 1:
            yield refused("$.parallelism", f"{d.parallelism.world} GPUs", "one", why="its rules place layers on cuda:0")

    def files(self, d: Deployment) -> Mapping[str, str]:  # noqa: ARG002
        """It reads its rules from its checkout."""
        return {}

    def router(self, d: Deployment, place: Placement) -> Command | None:  # noqa: ARG002
        """Rank 0 answers."""
        return None

    def servers(self, d: Deployment, place: Placement) -> tuple[str, ...]:  # noqa: ARG002
        """One."""
        return (at(*d.listen),)

    def ports(self, d: Deployment, rank: Rank) -> tuple[int, ...]:  # noqa: ARG002
        """None that is known before it runs."""
        return ()

    def within(self, d: Deployment) -> Within | None:  # noqa: ARG002
        """It is the engine itself."""
        return None

    def command(self, d: Deployment, rank: Rank) -> Command:  # noqa: ARG002
        """The one process."""
        argv: list[Word] = ["python", "ktransformers/server/main.py"]
        argv += ["--model_path", paths.model(d), "--gguf_path", paths.experts(d)]
        argv += ["--host", d.listen[0], "--port", str(d.listen[1])]
        args = {"model_name": d.served_name, **d.args}
        argv += rendered(flag_table.load(self.name, d.release), args)
        return Command(argv=tuple(argv), env=dict(d.env))
