"""What a ledger is asked: one model, one engine release, GPUs to cut it over, and the options that decide memory."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hosts.errors import InputError
from hosts.problem import Problem
from infra import precision as precisions
from infra.deployment import Parallelism
from infra.ledger import typed
from infra.ledger.gpus import Gpu
from infra.model import Model
from infra.precision import Precision

KT_ENGINES = ("sglang-kt", "kt-kernel")
AUTO = -1
"""As `max_model_len`: the engine takes the longest that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kt:
    """KTransformers: experts on the host. `cpu`: "avx512", "avx2" or "avxvnni", "" where it is not known."""

    method: str = "RAWINT4"
    gpu_experts: int = 0
    threadpools: int = 2
    chunked_prefill: int = 0
    prefill_threshold: int = 0
    cpu: str = ""
    kernel: str = ""
    """Release of kt-kernel, where it differs from the engine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of a queue or namespace.

    `what` is gpus, nodes, cpus (of all nodes together), memory_gib (of all), node_memory_gib, storage_gib or time_s.
    """

    what: str
    most: float
    of: str
    """Whose it is: "partition gpu", "QOS normal", "account x", "namespace aic"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """One question. 0, "" and None are "not said": the engine's release decides, or it is not held against anything.

    `tensor` and `data` are as in `Parallelism`: world = tensor * pipeline * data GPUs. SGLang's attention data
    parallelism (`--tp-size 16 --dp-size 16 --enable-dp-attention`) is tensor 1, data 16, `dp_attention` here.
    """

    model: Model
    engine: str
    release: str
    gpu: Gpu
    gpus_per_node: int
    nodes: int = 1
    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False
    decode_context: int = 1
    dtype: str = "auto"
    quantization: str = ""
    kv_dtype: str = "auto"
    max_model_len: int = 0
    max_num_seqs: int = 0
    max_num_batched_tokens: int = 0
    utilization: float = 0.0
    draft: Model | None = None
    dp_attention: bool = False
    data_encoder: bool | None = None
    """Whether each rank has the whole vision tower (`--mm-encoder-tp-mode data`); None: as the model class does."""
    language_only: bool = False
    eager: bool = False
    prefix_caching: bool | None = None
    redundant_experts: int = 0
    dense_tensor: int = 0
    """SGLang's `--moe-dense-tp-size`."""
    whole_shared: bool = False
    """Whether each rank has the shared experts whole: SGLang with an all-to-all backend (`--moe-a2a-backend`)."""
    attention_head: bool = False
    """SGLang's `--enable-dp-lm-head`: lm_head is cut over the ranks of one replica of attention alone."""
    block_size: int = 0
    kv_cache_gib: float = 0.0
    """A size of the cache that was given (`--kv-cache-memory-bytes`)."""
    most_tokens: int = 0
    """SGLang's `--max-total-tokens`."""
    offload_gib: float = 0.0
    """Host memory for KV (`--kv-offloading-size`), of the whole engine."""
    kt: Kt | None = None
    host_ram_gib: float | None = None
    shm_gib: float | None = None
    disk_gib: float | None = None
    cpus: int = 0
    time_s: int = 0
    limits: tuple[Limit, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    """Where in the user's file an option stands, by field; else problems name the option of `invoke fit`."""

    @property
    def world(self) -> int:
        """GPUs in use."""
        return self.tensor * self.pipeline * self.data

    @property
    def context(self) -> int:
        """Tokens of the longest sequence."""
        return self.max_model_len if self.max_model_len > 0 else self.model.architecture.context

    @property
    def precision(self) -> Precision:
        """Bytes a parameter, by component; a quantisation that only names the loader's method changes nothing."""
        own = self.model.bytes_by_component
        found = precisions.chosen(own, self.model.quantization, self.quantization) if self.quantization else own
        return precisions.in_dtype(found, self.dtype)

    def place(self, name: str) -> str:
        """Where a problem with that field lies."""
        return self.places.get(name, OPTIONS.get(name, f"--{name.replace('_', '-')}"))


OPTIONS: Mapping[str, str] = {"model": "MODEL", "gpu": "--gpus", "quantization": "--quant"}


def from_options(
    model: str,
    *,
    engine: str = "vllm",
    release: str = "",
    gpus: str,
    nodes: int = 1,
    tensor: int | str = 0,
    pipeline: int = 1,
    data: int = 1,
    expert: bool = False,
    decode_context: int = 1,
    dtype: str = "auto",
    quant: str = "",
    kv_dtype: str = "auto",
    max_model_len: str = "",
    max_num_seqs: int = 0,
    max_num_batched_tokens: str = "",
    utilization: float | str = 0.0,
    draft: str = "",
    host_ram_gib: float = 0.0,
    kt_num_gpu_experts: int = 0,
) -> FitRequest:
    """The request that the words of `invoke fit` mean. Raises InputError with everything that is wrong with them.

    "" and the numbers 0 are "not said"; a text "0" is what somebody typed.
    """
    problems: list[Problem] = []
    what = typed.model(model, "MODEL", problems)
    drafting = typed.model(draft, "--draft", problems) if draft else None
    per_node, gpu = typed.gpus(gpus, problems)
    release = release.removeprefix("v")
    problems.extend(typed.engine_problems(engine))
    problems.extend(typed.release_problems(engine, release))
    problems.extend(typed.format_problems(quant, dtype, kv_dtype))
    share = typed.share(utilization, problems)
    counts = {"--nodes": nodes, "--pipeline": pipeline, "--data": data, "--decode-context": decode_context}
    problems.extend(typed.count_problems(counts))
    ranks = typed.ranks(tensor, problems)
    amounts: dict[str, float] = {
        "--max-num-seqs": max_num_seqs,
        "--host-ram-gib": host_ram_gib,
        "--kt-num-gpu-experts": kt_num_gpu_experts,
    }
    for option, amount in amounts.items():
        if amount < 0:
            problems.append(Problem(where=option, found=f"{amount:g}", wanted="a number that is not negative"))
    length = tokens(max_model_len, "--max-model-len", problems)
    batched = tokens(max_num_batched_tokens, "--max-num-batched-tokens", problems)
    if problems:
        raise InputError(problems)
    assert what is not None
    assert gpu is not None
    cut = parallelism(engine, ranks, pipeline, data, expert=expert, gpus=per_node * nodes)
    return FitRequest(
        model=what,
        engine=engine,
        release=release or newest(engine),
        gpu=gpu,
        gpus_per_node=per_node,
        nodes=nodes,
        tensor=cut.tensor,
        pipeline=cut.pipeline,
        data=cut.data,
        expert=expert,
        decode_context=decode_context,
        dtype=dtype,
        quantization=quant,
        kv_dtype=kv_dtype.lower(),
        max_model_len=length,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=batched,
        utilization=share,
        draft=drafting,
        dp_attention=cut.data > 1 and engine != "vllm" and (cut.tensor != ranks or expert),
        host_ram_gib=host_ram_gib or None,
        kt=Kt(method=_method(what), gpu_experts=kt_num_gpu_experts) if engine in KT_ENGINES else None,
    )


METHODS: Mapping[str, str] = {"compressed-tensors-int4": "RAWINT4", "fp8-block": "FP8", "bf16": "BF16"}
"""kt-kernel's method that takes a checkpoint as it is; the converted ones need files of their own."""


def _method(it: Model) -> str:
    """How kt-kernel reads a model's own experts."""
    return METHODS.get(it.quantization, "BF16")


def newest(engine: str) -> str:
    """The newest release of an engine whose options are known."""
    from infra.flags import table  # noqa: PLC0415 - the one look at that folder

    return table.newest(engine)


def parallelism(engine: str, tensor: int, pipeline: int, data: int, *, expert: bool, gpus: int) -> Parallelism:
    """Slipway's sizes for an engine's own numbers.

    SGLang and TensorRT-LLM count attention's replicas inside the tensor size: tp 16 with dp 16 is 16 GPUs, not 256.
    """
    inside = engine != "vllm" and data > 1 and tensor % data == 0 and tensor * pipeline == gpus
    return Parallelism(tensor=tensor // data if inside else tensor, pipeline=pipeline, data=data, expert=expert)


def tokens(text: str, where: str, problems: list[Problem]) -> int:
    """A number of tokens as engines write it: 65536, 64k (thousands), 64K (of 1024), auto; 0 where it is not given."""
    word = str(text).strip()
    if not word:
        return 0
    if word in ("auto", "-1"):
        return AUTO
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,3})?)([kKmM]?)", word)
    size = round(float(found.group(1)) * UNITS[found.group(2)]) if found else 0
    if size <= 0:
        problems.append(
            Problem(where=where, found=repr(text)[:40], wanted="a number of tokens, like 65536, 64k or auto")
        )
    return size


UNITS = {"": 1, "k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}
