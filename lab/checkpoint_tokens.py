"""The tiny checkpoint's tokenizer: a token for each byte, Kimi's special tokens, and a chat template like Kimi's."""

from collections.abc import Mapping

BYTES = 256
# As in Kimi's own tokenizer: what the parsers look for is not `special`, and so stays in the text.
SPECIAL = ("[BOS]", "[EOS]", "[PAD]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>")
PARSED = (
    "<think>", "</think>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>", "<|tool_call_end|>",
)  # fmt: skip
VOCABULARY_SIZE = 320
RESERVED = tuple(f"<|reserved_{number}|>" for number in range(VOCABULARY_SIZE - BYTES - len(SPECIAL) - len(PARSED)))
ADDED = (*SPECIAL, *PARSED, *RESERVED)
BOS, PAD, EOS = (BYTES + ADDED.index(token) for token in ("[BOS]", "[PAD]", "<|im_end|>"))

CHAT_TEMPLATE = """\
{%- macro turn(role, token) -%}<|im_{{ token }}|>{{ role }}<|im_middle|>{%- endmacro -%}
{%- macro text(content) -%}
  {%- if content is string -%}{{ content }}
  {%- elif content -%}{%- for part in content -%}{{ part['text'] if 'text' in part else '' }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- if tools -%}{{ turn('tool_declare', 'system') }}{{ tools | tojson }}<|im_end|>{%- endif -%}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}{{ turn('user', 'user') }}{{ text(message['content']) }}
  {%- elif message['role'] == 'assistant' -%}{{ turn('assistant', 'assistant') }}<think></think>
    {{- text(message['content']) }}
    {%- if message['tool_calls'] -%}<|tool_calls_section_begin|>
      {%- for call in message['tool_calls'] -%}
        <|tool_call_begin|>{{ call['id'] }}<|tool_call_argument_begin|>
        {%- if call['function']['arguments'] is string -%}{{ call['function']['arguments'] }}
        {%- else -%}{{ call['function']['arguments'] | tojson }}
        {%- endif -%}<|tool_call_end|>
      {%- endfor -%}<|tool_calls_section_end|>
    {%- endif -%}
  {%- elif message['role'] == 'tool' -%}{{ turn(message['name'] or 'tool', 'system') -}}
    ## Return of {{ message['tool_call_id'] }}{{ '\\n' }}{{ text(message['content']) }}
  {%- else -%}{{ turn('system', 'system') }}{{ text(message['content']) }}
  {%- endif -%}<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}{{ turn('assistant', 'assistant') }}<think>
  {%- if thinking is defined and not thinking -%}</think>{%- endif -%}
{%- endif -%}
"""


def chat_template() -> str:
    return CHAT_TEMPLATE


def byte_characters() -> tuple[str, ...]:
    """The printable character that stands for each byte in byte-level tokenizers (GPT-2's table)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(BYTES) if byte not in printable]
    return tuple(chr(byte) if byte in printable else chr(BYTES + others.index(byte)) for byte in range(BYTES))


def readable() -> frozenset[int]:
    """The tokens that the model says: lower-case letters and the blank."""
    return frozenset(b"abcdefghijklmnopqrstuvwxyz ")


def tokenizer() -> Mapping[str, object]:
    """tokenizer.json: byte-level BPE with nothing to merge, and the added tokens."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": BYTES + place, **_added(token)} for place, token in enumerate(ADDED)],
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {character: byte for byte, character in enumerate(byte_characters())}, "merges": [],
        },
    }  # fmt: skip


def tokenizer_config() -> Mapping[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096, "clean_up_tokenization_spaces": False,
        "bos_token": "[BOS]", "eos_token": "<|im_end|>", "pad_token": "[PAD]",
        "added_tokens_decoder": {str(BYTES + place): _added(token) for place, token in enumerate(ADDED)},
    }  # fmt: skip


def _added(token: str) -> Mapping[str, object]:
    return {
        "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": token not in PARSED,
    }  # fmt: skip
