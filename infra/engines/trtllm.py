"""TensorRT-LLM: `trtllm-serve` under `trtllm-llmapi-launch`, one MPI rank a GPU, with the YAML that it reads."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from hosts.problem import Problem
from infra import fabric, paths
from infra.command import Command, Word
from infra.deployment import Argument, Deployment, Guards, at
from infra.engines.options import layer_problems, refused, rendered, software_problems
from infra.flags import table as flag_table
from infra.placement import Placement, Rank
from infra.protocols import Rendezvous, Within

_PARALLELISM = "set it in slipway:parallelism"
_YAML = "write what is in it under slipway:engine.config"
RESERVED: Mapping[str, str] = {
    "config": _YAML,
    "extra_llm_api_options": _YAML,
    "host": "leave it out: it is all addresses of its node, or that of slipway:endpoint.interface",
    "model": "set slipway:model",
    "pipeline_parallel_size": _PARALLELISM,
    "port": "set slipway:port",
    "pp_size": _PARALLELISM,
    "tensor_parallel_size": _PARALLELISM,
    "tp_size": _PARALLELISM,
}
"""Options that Slipway sets; what to write instead."""
RESERVED_YAML: Mapping[str, str] = {
    "backend": "leave it out: pytorch is the default",
    "enable_attention_dp": "set data in slipway:parallelism: it counts the replicas of attention",
    "model": "set slipway:model",
    "pipeline_parallel_size": _PARALLELISM,
    "tensor_parallel_size": _PARALLELISM,
}
"""Keys of its YAML that Slipway sets; the YAML wins over the command line there."""
YAML_FILE = "trtllm.yaml"
EXPERT = "moe_expert_parallel_size"


class Trtllm:
    """The engine `trtllm`."""

    name: ClassVar[str] = "trtllm"
    rendezvous: ClassVar[frozenset[Rendezvous]] = frozenset({"single", "mpi"})
    roles: ClassVar[tuple[str, ...]] = ()
    guards: ClassVar[Guards] = "nothing"

    def unnamed(self, model: str) -> str:
        """The last part of the model's folder (tensorrt_llm/serve/openai_server.py, 1.3.0rc3)."""
        return model

    def releases(self) -> tuple[str, ...]:
        """The releases that have a flag table."""
        return flag_table.releases(self.name)

    def argument_problems(self, release: str, args: Mapping[str, Argument]) -> Iterator[Problem]:
        """Options that the release lacks, that Slipway sets, or whose value its parser refuses."""
        yield from flag_table.load(self.name, release).problems(args, RESERVED)

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """The environment must hold the release, and its YAML must not say what Slipway does."""
        yield from software_problems(d, "tensorrt-llm")
        yield from layer_problems(d)
        for key, fix in RESERVED_YAML.items():
            if key in d.config:
                wanted = "a key that Slipway does not set itself"
                yield refused(f"$.engine.config.{key}", key, wanted, fix=fix)
        p = d.parallelism
        if p.data > 1 and p.tensor > 1:
            yield refused(
                "$.parallelism",
                f"{p.data} replicas of attention of {p.tensor} GPUs each",
                "tensor: 1 beside data, or data: 1",
                why="its attention data parallelism gives each GPU a replica of its own (enable_attention_dp)",
            )
        if d.draft:
            yield refused("$.draft", d.draft.name, "engine.config.speculative_config", why="its YAML names the draft")

    def files(self, d: Deployment) -> Mapping[str, str]:
        """Its YAML, where there is anything to say in it."""
        content = _config(d)
        if not content:
            return {}
        import yaml  # noqa: PLC0415 - only where a file is rendered

        return {YAML_FILE: yaml.safe_dump(content, sort_keys=False, width=120)}

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

    def command(self, d: Deployment, rank: Rank) -> Command:
        """The same for every rank: the launcher script runs the server on rank 0, and workers on the others."""
        p = d.parallelism
        argv: list[Word] = ["trtllm-llmapi-launch"] if rank.rendezvous == "mpi" else []
        argv += ["trtllm-serve", "serve", paths.model(d)]
        argv += ["--host", d.listen[0], "--port", str(d.listen[1])]
        argv += ["--tp_size", str(p.tensor * p.data)]
        if p.pipeline > 1:
            argv += ["--pp_size", str(p.pipeline)]
        if p.expert and EXPERT not in d.args:
            argv += ["--ep_size", str(p.tensor * p.data)]
        argv += rendered(flag_table.load(self.name, d.release), d.args)
        if _config(d):
            argv += ["--extra_llm_api_options", f"{paths.job_folder(d)}/{YAML_FILE}"]
        return Command(argv=tuple(argv), env={**fabric.environment(rank, d.env), **d.env})


def _config(d: Deployment) -> dict[str, Argument]:
    return {**d.config, "enable_attention_dp": True} if d.parallelism.data > 1 else dict(d.config)
