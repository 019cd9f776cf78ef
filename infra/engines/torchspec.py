"""TorchSpec: training of a draft model on Ray, one driver; its trainer and its target engine are roles."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from hosts.problem import Problem
from hosts.words import describe, nearest
from infra import paths
from infra.command import Command, Word
from infra.deployment import Argument, Deployment, EndpointConfig, Guards, at
from infra.engines.options import refused
from infra.placement import Placement, Rank
from infra.protocols import Rendezvous, Within

RELEASES = ("6dda2bf",)
"""Commits of its repository whose configuration was read; it has no releases."""
SGLANG = "0.5.10.post1"
"""The release that it patches and starts (tools/build_conda.sh)."""
SECTIONS = (
    "cache_dir", "dataset", "debug", "inference", "logging", "model", "model_download_dir", "mooncake", "output_dir",
    "training",
)  # fmt: skip
"""The keys at the top of its configuration (configs/sglang_kimi_k25_3node.yaml)."""
_ROLES = "set nodes and parallelism in slipway:roles"
RESERVED: Mapping[str, str] = {
    "cache_dir": "leave it out: caches lie on storage",
    "inference.inference_num_gpus": _ROLES,
    "inference.inference_num_gpus_per_engine": _ROLES,
    "inference.inference_num_gpus_per_node": _ROLES,
    "inference.sglang.nnodes": _ROLES,
    "inference.sglang.tp_size": _ROLES,
    "model.target_model_path": "set slipway:model",
    "output_dir": "leave it out: it lies on storage, by the stack's name",
    "training.training_num_gpus_per_node": _ROLES,
    "training.training_num_nodes": _ROLES,
}
CONFIG, DRAFT_CONFIG = "config", "model.draft_model_config"
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


class Torchspec:
    """The engine `torchspec`; its options are the dotted keys of its configuration, written `key=value`."""

    name: ClassVar[str] = "torchspec"
    rendezvous: ClassVar[frozenset[Rendezvous]] = frozenset({"ray"})
    roles: ClassVar[tuple[str, ...]] = ("trainer", "target")
    guards: ClassVar[Guards] = "all"

    def unnamed(self, model: str) -> str:
        """Clients ask it nothing."""
        return model

    def releases(self) -> tuple[str, ...]:
        """The commits whose configuration was read."""
        return RELEASES

    def argument_problems(self, release: str, args: Mapping[str, Argument]) -> Iterator[Problem]:  # noqa: ARG002
        """Keys of no section, keys that Slipway sets, and what is no dotted key."""
        for name in args:
            where = f"$.engine.args.{name}"
            if name in RESERVED:
                yield refused(where, name, "a key that Slipway does not set itself", fix=RESERVED[name])
            elif name != CONFIG and (not NAME.fullmatch(name) or name.partition(".")[0] not in SECTIONS):
                near = nearest(name.partition(".")[0], SECTIONS)
                wanted = f"a dotted key of its configuration, below {', '.join(SECTIONS)}"
                yield refused(where, describe(name), wanted, fix=near and f"did you mean {near}?")

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """It has both roles, a configuration, a data set, and one target engine over all nodes of its role."""
        if d.endpoint != EndpointConfig():
            yield refused("$.endpoint", "an endpoint", "none", why="a training answers no clients")
        if not d.roles:
            yield refused("$.roles", "nothing", "trainer and target, each with nodes and parallelism")
            return
        for key, wanted in (
            (CONFIG, "its configuration file, as configs/NAME.yaml in its checkout"),
            ("dataset.train_data_path", "a JSONL file or a folder, on storage"),
        ):
            if key not in d.args:
                yield refused(f"$.engine.args.{key}", "nothing", wanted, why="the run stops without it")
        target, trainer = d.part("target").parallelism, d.part("trainer").parallelism
        if target.pipeline > 1 or target.data > 1:
            yield refused(
                "$.roles.target.parallelism",
                f"pipeline {target.pipeline}, data {target.data}",
                "tensor ranks alone",
                why="its engine takes tp_size = nnodes x GPUs per node and no pipeline",
            )
        if trainer.tensor > 1 or trainer.pipeline > 1:
            yield refused(
                "$.roles.trainer.parallelism", f"tensor {trainer.tensor}, pipeline {trainer.pipeline}", "data alone",
                why="the trainer replicates its draft over its GPUs (FSDP)",
            )  # fmt: skip
        if d.roles[0].name != "trainer":
            yield refused(
                "$.roles",
                "target before trainer",
                "trainer first",
                why="its placement, training_first, gives the trainer the nodes of the lowest addresses",
            )

    def files(self, d: Deployment) -> Mapping[str, str]:  # noqa: ARG002
        """Its configuration lies in its checkout."""
        return {}

    def router(self, d: Deployment, place: Placement) -> Command | None:  # noqa: ARG002
        """Nobody asks it anything."""
        return None

    def servers(self, d: Deployment, place: Placement) -> tuple[str, ...]:  # noqa: ARG002
        """One."""
        return (at(*d.listen),)

    def ports(self, d: Deployment, rank: Rank) -> tuple[int, ...]:  # noqa: ARG002
        """None that is known before it runs."""
        return ()

    def within(self, d: Deployment) -> Within | None:
        """The target is an SGLang over the nodes of its role, with a store of hidden states beside its first rank."""
        if d.role != "target":
            return None
        args: dict[str, Argument] = {
            "mem-fraction-static": d.args.get("inference.sglang.mem_fraction_static", 0.6),
            "context-length": d.args.get("training.max_seq_length", 20000),
            "trust-remote-code": True,
            "enable-multimodal": True,
            "disable-radix-cache": True,
            "disable-cuda-graph": True,
        }
        engine = replace(d, engine="sglang", release=SGLANG, args=args, env={}, role="", roles=())
        sizes = ("global_segment_size", "128GB"), ("local_buffer_size", "16GB")
        store = sum(_gib(str(d.args.get(f"mooncake.{name}", default))) for name, default in sizes)
        return Within(deployment=engine, host_gib=store)

    def command(self, d: Deployment, rank: Rank) -> Command:  # noqa: ARG002
        """The driver, which runs on the head; its actors go where Ray and its own placement put them."""
        args = dict(d.args)
        argv: list[Word] = ["python3", "-m", "torchspec.train_entry", "--config", str(args.pop(CONFIG))]
        argv += [f"{key}={_text(value)}" for key, value in {**_set(d), **args}.items()]
        env: dict[str, Word] = {"TORCHSPEC_LOG_LEVEL": "INFO", **d.env}
        return Command(argv=tuple(argv), env=env)


def _set(d: Deployment) -> dict[str, Argument]:
    """What roles, model and storage say."""
    trainer, target = (next(role for role in d.roles if role.name == name) for name in ("trainer", "target"))
    per_node = target.parallelism.world // target.nodes
    return {
        "model.target_model_path": paths.model(d),
        "training.training_num_nodes": trainer.nodes,
        "training.training_num_gpus_per_node": trainer.parallelism.world // trainer.nodes,
        "inference.inference_engine_type": "sgl",
        "inference.inference_num_gpus": target.parallelism.world,
        "inference.inference_num_gpus_per_engine": target.parallelism.world,
        "inference.inference_num_gpus_per_node": per_node,
        "inference.sglang.tp_size": target.parallelism.tensor,
        "inference.sglang.nnodes": target.nodes,
        "output_dir": paths.outputs(d),
        "cache_dir": f"{paths.cache(d)}/torchspec",
    }


def _text(value: Argument) -> str:
    """A value as OmegaConf reads it after `key=`."""
    return value if isinstance(value, str) else json.dumps(value)


def _gib(size: str) -> float:
    """A size as Mooncake's configuration has it (`128GB`, of 1e9 bytes), in GiB; 0 for what is none."""
    found = re.fullmatch(r"([0-9]+)GB", size)
    return int(found.group(1)) * 1e9 / (1 << 30) if found else 0.0
