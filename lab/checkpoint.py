"""The tiny checkpoint: Kimi-K2's architecture in 4 MB of random weights, with Kimi's tokens and chat template.

Made by the standard library alone, so that it is the same bytes everywhere: safetensors is eight bytes of length, a
JSON header and the numbers. What it says is noise, but readable noise: dimension 0 of the residual stream carries a
constant; the output rows of lower-case letters and the blank lean towards it, those of everything else away from it.
"""

import json
import random
import shutil
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lab import paths
from lab.checkpoint_tokens import BOS, EOS, PAD, VOCABULARY_SIZE, chat_template, readable, tokenizer, tokenizer_config
from lab.progress import Say

NAME = "tiny-kimi-k2"
SEED = 20250711  # any number; the weights follow from it
SHARDS = 2
HIDDEN, LAYERS, HEADS, EXPERTS = 128, 2, 4, 8
Q_LORA, KV_LORA, NOPE, ROPE, V = 64, 512, 128, 64, 128
DENSE, EXPERT = 256, 64  # intermediate sizes
CARRIER = 0  # the dimension that holds a constant
CARRIED, LEAN, BLANK = 1.0, 24.0, 21.0
Tensor = tuple[str, tuple[int, ...], bytes]  # dtype, shape, little-endian numbers

CONFIG: Mapping[str, object] = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "dtype": "bfloat16",
    "vocab_size": VOCABULARY_SIZE, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "attention_bias": False, "attention_dropout": 0.0,
    "q_lora_rank": Q_LORA, "kv_lora_rank": KV_LORA, "qk_nope_head_dim": NOPE, "qk_rope_head_dim": ROPE, "v_head_dim": V,
    "intermediate_size": DENSE, "moe_intermediate_size": EXPERT, "first_k_dense_replace": 1, "moe_layer_freq": 1,
    "n_routed_experts": EXPERTS, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True, "routed_scaling_factor": 2.827,
    "max_position_embeddings": 4096, "rope_theta": 50000.0, "tie_word_embeddings": False, "initializer_range": 0.02,
    "num_nextn_predict_layers": 0, "use_cache": True, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD,
}  # fmt: skip
GENERATION: Mapping[str, object] = {
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
    "temperature": 0.6,
    "do_sample": True,
}


def folder() -> Path:
    return paths.cache() / "checkpoints" / NAME


def is_done() -> bool:
    return (folder() / "config.json").exists()


def prepare(say: Say) -> None:
    """Write the checkpoint unless it is there; it appears only when it is whole."""
    if is_done():
        return
    partial = folder().with_name(f".{NAME}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    shutil.rmtree(folder(), ignore_errors=True)
    partial.replace(folder())
    say(f"checkpoint: {NAME}, {sum(path.stat().st_size for path in folder().iterdir()) / 1e6:.1f} MB in {folder()}")


def write(target: Path) -> None:
    """All files of the checkpoint, into an existing folder."""
    documents = {
        "config.json": CONFIG, "generation_config.json": GENERATION, "tokenizer.json": tokenizer(),
        "tokenizer_config.json": tokenizer_config(),
    }  # fmt: skip
    for name, document in documents.items():
        (target / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (target / "chat_template.jinja").write_text(chat_template(), encoding="utf-8")
    everything = dict(tensors())
    index = dict[str, str]()
    for number in range(SHARDS):
        name = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        shard = {
            key: tensor
            for place, (key, tensor) in enumerate(everything.items())
            if place * SHARDS // len(everything) == number
        }
        (target / name).write_bytes(safetensors(shard))
        index |= dict.fromkeys(shard, name)
    size = sum(len(content) for _, _, content in everything.values())
    document = {"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))}
    (target / "model.safetensors.index.json").write_text(json.dumps(document, indent=2) + "\n")


def safetensors(shard: Mapping[str, Tensor]) -> bytes:
    """The file format of the safetensors library: length of the header, header, numbers."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, content) in shard.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(content)]}
        at += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers expect the numbers aligned
    return struct.pack("<Q", len(text)) + text + b"".join(content for _, _, content in shard.values())


def tensors() -> Iterator[tuple[str, Tensor]]:
    """Names and weights as DeepSeek-V3 checkpoints have them, in order of the layers."""
    dice = random.Random(SEED)  # noqa: S311 - weights, not secrets

    def linear(name: str, out: int, into: int) -> tuple[str, Tensor]:
        return f"{name}.weight", matrix(dice, out, into)

    def back(name: str, into: int) -> tuple[str, Tensor]:
        return f"{name}.weight", without_carrier(matrix(dice, HIDDEN, into))

    def mlp(name: str, size: int) -> Iterator[tuple[str, Tensor]]:
        yield linear(f"{name}.gate_proj", size, HIDDEN)
        yield linear(f"{name}.up_proj", size, HIDDEN)
        yield back(f"{name}.down_proj", size)

    yield "model.embed_tokens.weight", with_column(matrix(dice, VOCABULARY_SIZE, HIDDEN), [CARRIED] * VOCABULARY_SIZE)
    for number in range(LAYERS):
        layer = f"model.layers.{number}"
        attention = f"{layer}.self_attn"
        yield f"{layer}.input_layernorm.weight", ones(HIDDEN)
        yield linear(f"{attention}.q_a_proj", Q_LORA, HIDDEN)
        yield f"{attention}.q_a_layernorm.weight", ones(Q_LORA)
        yield linear(f"{attention}.q_b_proj", HEADS * (NOPE + ROPE), Q_LORA)
        yield linear(f"{attention}.kv_a_proj_with_mqa", KV_LORA + ROPE, HIDDEN)
        yield f"{attention}.kv_a_layernorm.weight", ones(KV_LORA)
        yield linear(f"{attention}.kv_b_proj", HEADS * (NOPE + V), KV_LORA)
        yield back(f"{attention}.o_proj", HEADS * V)
        yield f"{layer}.post_attention_layernorm.weight", ones(HIDDEN)
        if number == 0:
            yield from mlp(f"{layer}.mlp", DENSE)
            continue
        yield linear(f"{layer}.mlp.gate", EXPERTS, HIDDEN)
        yield f"{layer}.mlp.gate.e_score_correction_bias", ("F32", (EXPERTS,), bytes(4 * EXPERTS))
        for expert in range(EXPERTS):
            yield from mlp(f"{layer}.mlp.experts.{expert}", EXPERT)
        yield from mlp(f"{layer}.mlp.shared_experts", EXPERT)
    yield "model.norm.weight", ones(HIDDEN)
    letters, blank = readable(), {ord(" "): BLANK}
    lean = [blank.get(token, LEAN) if token in letters else -LEAN for token in range(VOCABULARY_SIZE)]
    yield "lm_head.weight", with_column(matrix(dice, VOCABULARY_SIZE, HIDDEN), lean)


def matrix(dice: random.Random, out: int, into: int) -> Tensor:
    """Evenly spread numbers that keep the variance of what they are multiplied with (a width of √(3 / inputs))."""
    step = (3.0 / into) ** 0.5 / 127.5
    table = [bf16((byte - 127.5) * step) for byte in range(256)]
    return "BF16", (out, into), _bytes([table[byte] for byte in dice.randbytes(out * into)])


def with_column(tensor: Tensor, column: Sequence[float]) -> Tensor:
    """The same matrix with the carrier's column replaced."""
    dtype, shape, content = tensor
    numbers = array("H", content)
    for row, number in enumerate(column):
        numbers[row * shape[1] + CARRIER] = bf16(number)
    return dtype, shape, numbers.tobytes()


def without_carrier(tensor: Tensor) -> Tensor:
    """The same matrix with nothing for the carrier, which so stays what the embedding made it."""
    dtype, shape, content = tensor
    row = 2 * shape[1]
    return dtype, shape, content[: row * CARRIER] + bytes(row) + content[row * (CARRIER + 1) :]


def ones(size: int) -> Tensor:
    return "BF16", (size,), _bytes([bf16(1.0)] * size)


def bf16(number: float) -> int:
    """The upper half of a 32-bit float."""
    return int(struct.unpack("<I", struct.pack("<f", number))[0]) >> 16


def _bytes(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}H", *numbers)
