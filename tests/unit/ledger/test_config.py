"""A config.json of each family comes to the parameters that transformers itself counts for it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hosts.errors import InputError
from infra import model as models
from infra import precision as precisions
from infra.ledger import config
from infra.ledger.weights import parameters

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
MLA = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
KIMI: dict[str, Any] = {
    "model_type": "kimi_k2", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64, "q_lora_rank": 1536, **MLA,
    "n_routed_experts": 384, "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 1,
    "vocab_size": 163840, "max_position_embeddings": 262144, "tie_word_embeddings": False,
}  # fmt: skip
IGNORED = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]
INT4 = {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}}
KIMI_INT4 = {"quant_method": "compressed-tensors", "config_groups": {"group_0": INT4}, "ignore": IGNORED}
MOONVIT = {
    "vt_hidden_size": 1152, "vt_intermediate_size": 4304, "vt_num_hidden_layers": 27, "vt_num_attention_heads": 16,
    "patch_size": 14, "init_pos_emb_height": 64, "init_pos_emb_width": 64,
}  # fmt: skip
FAMILIES: Mapping[str, tuple[Mapping[str, Any], float]] = {
    "llama": (LLAMA, 8.030261248),
    "llama-tied": (LLAMA | {"tie_word_embeddings": True}, 8.030261248 - 4096 * 128256 / 1e9),
    "qwen2": (
        LLAMA | {"model_type": "qwen2", "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
                 "num_attention_heads": 64, "vocab_size": 152064, "sliding_window": 131072,
                 "use_sliding_window": False},
        72.706203648,
    ),
    "qwen3": (
        LLAMA | {"model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 25600, "num_hidden_layers": 64,
                 "num_attention_heads": 64, "head_dim": 128, "vocab_size": 151936},
        32.762123264,
    ),
    "qwen3_moe": (
        LLAMA | {"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "head_dim": 128,
                 "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_key_value_heads": 4, "num_experts": 128,
                 "num_experts_per_tok": 8, "vocab_size": 151936, "decoder_sparse_step": 1, "mlp_only_layers": []},
        30.532122624,
    ),
    "qwen3_next": (
        LLAMA | {"model_type": "qwen3_next", "hidden_size": 2048, "intermediate_size": 5120, "head_dim": 256,
                 "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "num_hidden_layers": 48,
                 "num_attention_heads": 16, "num_key_value_heads": 2, "num_experts": 512, "num_experts_per_tok": 10,
                 "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
                 "linear_value_head_dim": 128, "vocab_size": 151936},
        79.674391296,
    ),
    "mixtral": (
        LLAMA | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000},
        46.702792704,
    ),
    "mistral": (
        LLAMA | {"model_type": "mistral", "hidden_size": 5120, "intermediate_size": 32768, "num_hidden_layers": 40,
                 "head_dim": 128, "vocab_size": 131072, "sliding_window": None},
        23.572403200,
    ),
    "gpt_oss": (
        LLAMA | {"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36,
                 "num_attention_heads": 64, "head_dim": 64, "num_local_experts": 128, "num_experts_per_tok": 4,
                 "vocab_size": 201088, "sliding_window": 128},
        116.829156672,
    ),
    "glm4_moe": (
        LLAMA | {"model_type": "glm4_moe", "intermediate_size": 10944, "moe_intermediate_size": 1408, "head_dim": 128,
                 "num_hidden_layers": 46, "num_attention_heads": 96, "n_routed_experts": 128, "n_shared_experts": 1,
                 "num_experts_per_tok": 8, "first_k_dense_replace": 1, "vocab_size": 151552},
        106.852245504,
    ),
    "deepseek_v2": (
        LLAMA | {"model_type": "deepseek_v2", "hidden_size": 2048, "intermediate_size": 10944, "q_lora_rank": None,
                 "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16,
                 "num_key_value_heads": 16, **MLA, "n_routed_experts": 64, "n_shared_experts": 2,
                 "num_experts_per_tok": 6, "first_k_dense_replace": 1, "vocab_size": 102400},
        15.706484224,
    ),
    "gemma2": (
        LLAMA | {"model_type": "gemma2", "hidden_size": 4608, "intermediate_size": 36864, "num_hidden_layers": 46,
                 "num_key_value_heads": 16, "head_dim": 128, "vocab_size": 256000, "sliding_window": 4096},
        27.227128320,
    ),
    "minimax_m2": (
        LLAMA | {"model_type": "minimax_m2", "hidden_size": 3072, "intermediate_size": 1536, "num_hidden_layers": 62,
                 "num_attention_heads": 48, "head_dim": 128, "num_local_experts": 256, "num_experts_per_tok": 8,
                 "vocab_size": 200064},
        228.689748992,
    ),
    "kimi_k2": (KIMI, 1026.408232448),
    "kimi_k25": ({"model_type": "kimi_k25", "text_config": KIMI, "vision_config": MOONVIT}, 1026.879376368),
    "nemotron_h": (
        LLAMA | {"model_type": "nemotron_h", "hidden_size": 2688, "intermediate_size": 1856, "num_hidden_layers": 52,
                 "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", "head_dim": 128,
                 "num_key_value_heads": 2, "mamba_num_heads": 64, "mamba_head_dim": 64, "n_groups": 8,
                 "ssm_state_size": 128, "conv_kernel": 4, "moe_intermediate_size": 1856, "n_routed_experts": 128,
                 "moe_shared_expert_intermediate_size": 3712, "n_shared_experts": 1, "num_experts_per_tok": 6,
                 "mlp_hidden_act": "relu2", "vocab_size": 131072},
        31.577940,
    ),
}  # fmt: skip
"""Totals are those of transformers 5.5.4 with parameters on the meta device, or published."""


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters(family: str) -> None:
    data, billions = FAMILIES[family]
    found = config.parse(data, "config.json")
    assert sum(parameters(found.architecture).values()) / 1e9 == pytest.approx(billions, rel=1e-3)


def test_kimi_is_the_one_of_the_catalogue() -> None:
    data = {
        "model_type": "kimi_k25",
        "text_config": KIMI | {"quantization_config": KIMI_INT4},
        "vision_config": MOONVIT,
    }
    found, known = config.parse(data, "config.json"), models.load("kimi-k2.5")
    assert found.weights_bytes == pytest.approx(known.weights_bytes, rel=1e-7)  # biases of the projector
    assert found.quantization == known.quantization == "compressed-tensors-int4"
    ours, theirs = found.bytes_by_component, known.bytes_by_component
    assert (ours.routed, ours.shared, ours.dense, ours.attention) == (theirs.routed, theirs.shared, 2.0, 2.0)


def test_text_and_tower_may_lie_deeper() -> None:
    data = {"model_type": "qwen3_omni_moe", "thinker_config": {"text_config": LLAMA, "vision_config": MOONVIT}}
    found = config.parse(data, "config.json").architecture
    assert (found.layers, found.vision_sharded) == (32, True)
    assert found.vision_parameters > 4e8


@pytest.mark.parametrize(
    ("data", "mixers"),
    [
        ({"layer_types": ["sliding_attention", "full_attention"] * 16}, "SA" * 16),
        ({"layer_types": ["full_attention"] * 32}, ""),
        ({"model_type": "gemma3_text", "sliding_window": 1024}, ("SSSSSA" * 6)[:32]),
        ({"model_type": "gpt_oss", "sliding_window": 128}, "SA" * 16),
        ({"model_type": "llama4_text", "attention_chunk_size": 8192}, "CCCA" * 8),
        ({"model_type": "mistral", "sliding_window": 4096}, "S" * 32),
        ({"linear_attn_config": {"full_attn_layers": [4, 8], "num_heads": 32, "head_dim": 128}}, "LLLALLLA" + "L" * 24),
    ],
)
def test_kinds_of_layers(data: Mapping[str, Any], mixers: str) -> None:
    assert config.parse({**LLAMA, **data}, "config.json").architecture.mixers == mixers


@pytest.mark.parametrize(
    ("quantization", "name", "routed", "attention"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block", 1 + 4 / 16384, 1 + 4 / 16384),
        ({"quant_method": "fp8", "ignored_layers": ["re:.*self_attn.*"]}, "fp8", 1.0, 2.0),
        (KIMI_INT4, "compressed-tensors-int4", 0.5625, 2.0),
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}, "mxfp4", 0.53125, 2.0),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq", 0.51953125, 0.51953125),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["*self_attn*"]}, "nvfp4", 0.5625, 2.0),
        ({"quant_method": "something-new"}, "bf16", 2.0, 2.0),
        ({"quant_method": "fp8", "ignored_layers": ["re:(a+)+$", "re:["]}, "fp8", 1.0, 1.0),
    ],
)
def test_quantisation(quantization: Mapping[str, Any], name: str, routed: float, attention: float) -> None:
    found = config.parse({**KIMI, "quantization_config": quantization}, "config.json")
    assert found.quantization == name
    assert found.bytes_by_component.routed == pytest.approx(routed)
    assert found.bytes_by_component.attention == pytest.approx(attention)


def test_layers_left_out_one_by_one_count_by_their_share() -> None:
    ignored = [f"model.layers.{n}.self_attn.q_proj" for n in range(8)]
    quantization = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ignored}
    found = config.parse({**LLAMA, "quantization_config": quantization}, "config.json").bytes_by_component
    assert found.attention == pytest.approx((8 * 2 + 24) / 32)
    assert found.dense == 1.0


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({**LLAMA, "hidden_size": "4096"}, ["$.hidden_size"]),
        ({**LLAMA, "num_hidden_layers": 10**9, "vocab_size": -1}, ["$.num_hidden_layers", "$.vocab_size"]),
        ({"model_type": "x", "text_config": {**LLAMA, "vocab_size": None}}, ["$.text_config.vocab_size"]),
        ({**LLAMA, "layer_types": ["full_attention"]}, ["$.layer_types"]),
        ({**LLAMA, "model_type": "falcon_h1"}, ["$.model_type"]),
        ({**LLAMA, "num_attention_heads": 10_000}, ["$.num_attention_heads"]),
        ({**LLAMA, "hidden_size_per_layer_input": 256}, ["$.model_type"]),
        ([], ["$", "$.num_hidden_layers", "$.hidden_size", "$.num_attention_heads", "$.vocab_size"]),
    ],
)
def test_what_is_wrong_is_said_at_once(data: object, where: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        config.parse(data, "config.json")
    assert [problem.where for problem in caught.value.problems] == where


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_what_is_no_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError):
        models.load_config(tmp_path)


def shard(path: Path, tensors: Mapping[str, int]) -> None:
    """A safetensors file: its header, and no data, for that is never read."""
    header, at = {}, 0
    for name, size in tensors.items():
        header[name] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)


def test_bytes_come_from_headers_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    embedding = 4096 * 128256
    shard(tmp_path / "model.safetensors", {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding * 2})
    found = models.load_config(tmp_path)
    assert found.weights_bytes == 3 * embedding
    assert (found.bytes_by_component.embedding, found.bytes_by_component.head) == (1.0, 2.0)
    assert found.bytes_by_component.dense == precisions.BF16


@pytest.mark.parametrize("missing", [True, False])
def test_an_index_says_the_total(missing: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    index = {"metadata": {"total_size": 123456}, "weight_map": {"a": "model-1.safetensors", "b": "../escape"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index) if missing else "{")
    assert (models.load_config(tmp_path / "config.json").weights_bytes == 123456) is missing
