"""The tiny checkpoint: the same bytes each time, real safetensors shards, and prompts as Kimi writes them."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import jinja2
import pytest

from lab import checkpoint, checkpoint_tokens


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("checkpoint")
    checkpoint.write(target)
    return target


def header(path: Path) -> tuple[dict[str, dict[str, list[int]]], int]:
    """The tensors that a shard's header names, and the number of bytes after it."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    found = json.loads(content[8 : 8 + size])
    assert found.pop("__metadata__") == {"format": "pt"}
    return found, len(content) - 8 - size


def test_the_same_bytes_each_time(made: Path, tmp_path: Path) -> None:
    checkpoint.write(tmp_path)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir()
    }


def test_every_tensor_is_in_the_shard_that_the_index_names(made: Path) -> None:
    index = json.loads((made / "model.safetensors.index.json").read_text())
    shards = sorted(made.glob("*.safetensors"))
    assert len(shards) == checkpoint.SHARDS
    for shard in shards:
        tensors, size = header(shard)
        assert set(tensors) == {name for name, file in index["weight_map"].items() if file == shard.name}
        ends = sorted(tuple(tensor["data_offsets"]) for tensor in tensors.values())
        assert ends[0][0] == 0
        assert ends[-1][1] == size
        assert all(before[1] == after[0] for before, after in pairwise(ends))
    assert index["metadata"]["total_size"] == sum(header(shard)[1] for shard in shards)


def test_shapes_follow_the_configuration(made: Path) -> None:
    config = json.loads((made / "config.json").read_text())
    shapes = {
        name: tensor["shape"] for shard in made.glob("*.safetensors") for name, tensor in header(shard)[0].items()
    }
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    attention = "model.layers.1.self_attn"
    assert shapes["lm_head.weight"] == shapes["model.embed_tokens.weight"] == [config["vocab_size"], hidden]
    assert shapes[f"{attention}.kv_a_proj_with_mqa.weight"] == [
        config["kv_lora_rank"] + config["qk_rope_head_dim"],
        hidden,
    ]
    assert shapes[f"{attention}.o_proj.weight"] == [hidden, heads * config["v_head_dim"]]
    experts = {name.split(".")[5] for name in shapes if name.startswith("model.layers.1.mlp.experts.")}
    assert len(experts) == config["n_routed_experts"]
    assert "model.layers.0.mlp.gate.weight" not in shapes


def test_numbers_are_finite_and_small() -> None:
    for name, (dtype, _, content) in checkpoint.tensors():
        if dtype == "BF16":
            exponents = {number >> 7 & 0xFF for number in struct.unpack(f"<{len(content) // 2}H", content)}
            assert max(exponents) <= 127 + 5, name


@pytest.mark.parametrize(("number", "bits"), [(1.0, 0x3F80), (-2.0, 0xC000), (0.0, 0)])
def test_bf16(number: float, bits: int) -> None:
    assert checkpoint.bf16(number) == bits


def test_tokens_are_numbered_without_gaps(made: Path) -> None:
    tokenizer = json.loads((made / "tokenizer.json").read_text())
    numbers = [*tokenizer["model"]["vocab"].values(), *(token["id"] for token in tokenizer["added_tokens"])]
    assert sorted(numbers) == list(range(checkpoint_tokens.VOCABULARY_SIZE))
    special = {token["content"]: token["special"] for token in tokenizer["added_tokens"]}
    assert special["<|im_end|>"] is True
    assert special["<think>"] is special["<|tool_call_begin|>"] is False
    config = json.loads((made / "config.json").read_text())
    assert {token["content"]: token["id"] for token in tokenizer["added_tokens"]}["<|im_end|>"] == config[
        "eos_token_id"
    ]


def rendered(**values: object) -> str:
    return jinja2.Environment(autoescape=False).from_string(checkpoint_tokens.chat_template()).render(**values)  # noqa: S701 - a prompt, not a page


USER = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("values", "prompt"),
    [
        ({"messages": [USER]}, "<|im_user|>user<|im_middle|>Hello<|im_end|>"),
        (
            {"messages": [{"role": "system", "content": [{"type": "text", "text": "Be kind"}]}]},
            "<|im_system|>system<|im_middle|>Be kind<|im_end|>",
        ),
        ({"messages": [], "add_generation_prompt": True}, "<|im_assistant|>assistant<|im_middle|><think>"),
        (
            {"messages": [], "add_generation_prompt": True, "thinking": False},
            "<|im_assistant|>assistant<|im_middle|><think></think>",
        ),
        (
            {"messages": [], "tools": [{"name": "f"}]},
            '<|im_system|>tool_declare<|im_middle|>[{"name": "f"}]<|im_end|>',
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"id": "f:0", "function": {"arguments": "{}"}}],
                    },
                    {"role": "tool", "tool_call_id": "f:0", "content": "3"},
                ]
            },
            (
                "<|im_assistant|>assistant<|im_middle|><think></think><|tool_calls_section_begin|><|tool_call_begin|>f:0"
                "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|><|im_end|>"
                "<|im_system|>tool<|im_middle|>## Return of f:0\n3<|im_end|>"
            ),
        ),
    ],
)
def test_prompts(values: dict[str, object], prompt: str) -> None:
    assert rendered(**values) == prompt
