"""The engines; `ENGINES` is how a stack file names one."""

from infra.engines.ktransformers import Ktransformers
from infra.engines.sglang import Sglang, SglangKt
from infra.engines.torchspec import Torchspec
from infra.engines.trtllm import Trtllm
from infra.engines.vllm import Vllm
from infra.protocols import Engine

ENGINES: dict[str, Engine] = {
    engine.name: engine for engine in (Vllm(), Sglang(), SglangKt(), Trtllm(), Ktransformers(), Torchspec())
}

__all__ = ["ENGINES", "Engine"]
