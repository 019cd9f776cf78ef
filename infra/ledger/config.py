"""A Hugging Face config.json as a `Model`: each family's own field names, and the safetensors beside it."""

import json
from dataclasses import replace
from pathlib import Path

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import Reader
from infra import precision as precisions
from infra.architecture import Architecture
from infra.ledger import checkpoint, layers, quantized, vision
from infra.ledger.weights import checkpoint_bytes, parameters
from infra.model import MAX_LAYERS, Model

MAX_BYTES = 16 << 20
MOST_NESTED = 3
VISION = ("vision_config", "vision_encoder")
NESTED = ("text_config", "llm_config", "language_config", "thinker_config", "text_model_config")


def load(path: Path) -> Model:
    """The model of a config.json or of the folder that has one. Raises InputError with every problem."""
    file = path / "config.json" if path.is_dir() else path
    found = parse(_json(file), str(file), name=file.resolve().parent.name if path.is_dir() else file.stem)
    beside = checkpoint.read(file.parent)
    if not beside.total_bytes:
        return found
    if beside.by_component:
        counts = parameters(found.architecture)
        found = replace(found, precision=quantized.measured(found.bytes_by_component, counts, beside.by_component))
    return replace(found, weights_bytes=beside.total_bytes)


def _json(file: Path) -> object:
    def wrong(found: str, wanted: str) -> InputError:
        return InputError([Problem(where="$", found=f"{file}: {found}", wanted=wanted)])

    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise wrong(str(error.strerror), "a readable config.json") from None
    if len(data) > MAX_BYTES:
        raise wrong("more than 16 MiB", "a config.json")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise wrong("no JSON", "a config.json") from None


def parse(data: object, place: str, *, name: str = "model") -> Model:
    """The model that a parsed config.json means. Raises InputError with every problem, each with its `$.path`."""
    top = Reader(data, place)
    text = top
    for _ in range(MOST_NESTED):
        inner = next((key for key in NESTED if isinstance(text.data.get(key), dict)), None)
        text = text.child(inner) if inner else text
    family = _family(top, text)
    _refuse(top, text, family)
    a = _vision(top, family, _architecture(top, text, family))
    if not top.problems and not a.mla and not a.head_size:
        text.problem(
            text.at("num_attention_heads"), f"{a.heads} heads of a hidden size of {a.hidden}", "heads with a size"
        )
    top.raise_problems(f"{place} can't be used:")
    dtype = _dtype(top, text)
    scheme, size = dtype, precisions.of(dtype)
    holder = text if isinstance(text.data.get("quantization_config"), dict) else top
    if isinstance(holder.data.get("quantization_config"), dict):
        scheme, size = quantized.precision(a, holder.child("quantization_config"), dtype=dtype)
    top.raise_problems(f"{place} can't be used:")
    return Model(
        name=name,
        repo=str(top.data.get("_name_or_path") or name),
        quantization=scheme,
        architecture=a,
        weights_bytes=max(1, checkpoint_bytes(a, size)),
        family=family,
        precision=size,
    )


def _family(top: Reader, text: Reader) -> str:
    return top.text("model_type", default="") or text.text("model_type", default="")


OTHERS = (
    "falcon_h1",
    "jamba",
    "zamba",
    "zamba2",
    "longcat_flash",
    "gemma3n",
    "deepseek_v4",
    "mamba",
    "rwkv",
    "dbrx",
    "plamo2",
)
"""Families whose layers are none of the kinds that are known here; a guess would be worse than no answer."""


def _refuse(top: Reader, text: Reader, family: str) -> None:
    named = {family, str(text.data.get("model_type"))}
    per_layer = text.data.get("hidden_size_per_layer_input")
    if not named.isdisjoint(OTHERS) or per_layer or text.data.get("is_encoder_decoder") is True:
        found = "embeddings of each layer's own" if per_layer else repr(family)
        top.problem("$.model_type", found, "a decoder of attention, linear attention, mamba 2, MLPs and experts")


def _dtype(top: Reader, text: Reader) -> str:
    found = next((r.data.get(k) for r in (text, top) for k in ("torch_dtype", "dtype") if r.data.get(k)), "bfloat16")
    return precisions.scheme(str(found)) or "bf16"


def _architecture(top: Reader, text: Reader, family: str) -> Architecture:
    """The numbers of the text model."""
    number = Numbers(text)
    count = number("num_hidden_layers", "n_layer", "n_layers", "num_layers", low=1, high=MAX_LAYERS)
    hidden = number("hidden_size", "n_embd", "d_model", low=1)
    heads = number("num_attention_heads", "n_head", "n_heads", low=1)
    experts = number("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts", default=0)
    dense = number("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", default=4 * hidden)
    kinds = layers.of(text, family, count, experts)
    linear = text.data.get("linear_attn_config")
    recurrent = Numbers(Reader(linear, top.file, text.at("linear_attn_config"), top.problems)) if linear else number
    gemma = family.startswith("gemma") or str(text.data.get("model_type", "")).startswith("gemma")
    tied = next((bool(r.data["tie_word_embeddings"]) for r in (text, top) if "tie_word_embeddings" in r.data), gemma)
    shared_width = number(
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size", default=0
    )
    shared = number("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", default=int(shared_width > 0))
    return Architecture(
        layers=count,
        dense_layers=number("first_k_dense_replace", default=0),
        hidden=hidden,
        heads=heads,
        experts=experts,
        shared_experts=1 if "llama4" in family else shared,
        experts_per_token=number(
            "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", default=0
        ),
        dense_intermediate=number("intermediate_size_mlp", default=dense),
        expert_intermediate=number("moe_intermediate_size", "expert_ffn_hidden_size", default=dense if experts else 0),
        q_lora_rank=number("q_lora_rank", default=0),
        kv_lora_rank=number("kv_lora_rank", default=0),
        qk_nope_head_dim=number("qk_nope_head_dim", default=0),
        qk_rope_head_dim=number("qk_rope_head_dim", default=0),
        v_head_dim=number("v_head_dim", default=0),
        vocabulary=number("vocab_size", low=1),
        context=_context(number),
        kv_heads=number("num_key_value_heads", "num_kv_heads", default=heads),
        head_dim=number("head_dim", "attention_head_dim", default=0),
        tied=tied,
        mixers=kinds.mixers,
        mlps=kinds.mlps,
        window=number("sliding_window", "attention_chunk_size", "sliding_window_size", default=0),
        full_kv_heads=number("num_global_key_value_heads", default=0),
        full_head_dim=number("global_head_dim", default=0),
        values_are_keys=bool(text.data.get("attention_k_eq_v")),
        gated_attention=bool(text.data.get("attn_output_gate", family.startswith(("qwen3_next", "qwen3_5")))),
        mlp_matrices=2 if text.data.get("mlp_hidden_act") == "relu2" or "nemotron" in family else 3,
        shared_intermediate=shared_width,
        expert_hidden=number("moe_latent_size", default=0),
        index_heads=number("index_n_heads", default=0),
        index_head_dim=number("index_head_dim", default=0),
        linear_key_heads=recurrent("linear_num_key_heads", "num_heads", default=0) if "L" in kinds.mixers else 0,
        linear_value_heads=recurrent("linear_num_value_heads", "num_heads", default=0) if "L" in kinds.mixers else 0,
        linear_head_dim=recurrent("linear_key_head_dim", "head_dim", default=0) if "L" in kinds.mixers else 0,
        mamba_heads=number("mamba_num_heads", "mamba_n_heads", default=0),
        mamba_head_dim=number("mamba_head_dim", "mamba_d_head", default=0),
        mamba_groups=number("n_groups", "mamba_n_groups", default=0) if "M" in kinds.mixers else 0,
        mamba_state=number("ssm_state_size", "mamba_d_state", default=0),
        state_bytes=_state_bytes(text, kinds.mixers),
        conv_kernel=recurrent(
            "linear_conv_kernel_dim", "short_conv_kernel_size", "conv_kernel", "mamba_d_conv", default=4
        ),
        rope_positions=4 * _context(number) if family in vision.MROPE else 0,
    )


class Numbers:
    """Whole numbers by the first of several names that a file has."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __call__(self, *names: str, default: int | None = None, low: int = 0, high: int = 1 << 40) -> int:
        key = next((name for name in names if self.reader.has(name)), names[0])
        return self.reader.number(key, default=default, low=low, high=high)


def _context(number: Numbers) -> int:
    return number("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions", default=4096, low=1)


def _state_bytes(text: Reader, mixers: str) -> int:
    """FP32 where the file says so; the delta net of Qwen keeps it so (`mamba_ssm_dtype`)."""
    said = str(text.data.get("mamba_ssm_dtype") or text.data.get("mamba_ssm_cache_dtype") or "")
    if said:
        return 4 if "32" in said else 2
    return 4 if "nemotron" in str(text.data.get("model_type", "")) and "M" in mixers else 0


def _vision(top: Reader, family: str, a: Architecture) -> Architecture:
    """The same with its vision tower."""
    holders = [top.data, *(inner for key in NESTED if isinstance(inner := top.data.get(key), dict))]
    found = next((holder[key] for holder in holders for key in VISION if isinstance(holder.get(key), dict)), None)
    if not isinstance(found, dict):
        return a
    tower = vision.tower(Reader(found, top.file, "$.vision_config", top.problems), family, a.hidden)
    return replace(
        a,
        vision_parameters=tower.parameters,
        projector_parameters=tower.projector,
        vision_sharded=family in vision.SHARDED,
    )
