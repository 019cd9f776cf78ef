"""The engines; `ENGINES` is how a stack file names one."""

from infra.engines.vllm import Vllm
from infra.protocols import Engine

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Vllm(),)}

__all__ = ["ENGINES", "Engine"]
