"""Which release serves which model, with which parsers, and what its own code needs."""

from collections.abc import Iterator

from infra.rules.gpus import generation
from infra.rules.recognise import family, is_another_makers
from infra.rules.release import within
from infra.rules.rule import SGLANG, TRTLLM, VLLM, Breach, Rule
from infra.rules.subject import Subject

_RECIPE = "vllm-project/recipes, moonshotai/Kimi-K2.5.md; MoonshotAI/Kimi-K2.5, docs/deploy_guidance.md"


def kind(s: Subject) -> str:
    """The Kimi family that the command serves; "" where it is another or not certain."""
    return family(s.model.repo if s.model else s.written_model)


def _too_old(s: Subject, wanted_family: str, oldest: str) -> Iterator[Breach]:
    here = kind(s)
    if here == wanted_family or (wanted_family == "kimi-k2" and here.startswith("kimi-k2")):
        yield Breach(
            options=("model", "model-path"),
            found=f"{here} on {s.engine} {s.release}",
            wanted=f"{s.engine} {oldest} or newer",
            fix=f"pin {oldest} or newer",
        )


def _k25_vllm(s: Subject) -> Iterator[Breach]:
    yield from _too_old(s, "kimi-k2.5", "0.15.1")


def _k2_vllm(s: Subject) -> Iterator[Breach]:
    if kind(s) != "kimi-k2.5":
        yield from _too_old(s, "kimi-k2", "0.10.0")


def _k25_sglang(s: Subject) -> Iterator[Breach]:
    yield from _too_old(s, "kimi-k2.5", "0.5.9")


def _int4_trtllm(s: Subject) -> Iterator[Breach]:
    if s.model is not None and s.model.quantization == "compressed-tensors-int4":
        yield Breach(
            options=("model",),
            found=f"{s.model.name}, whose experts are compressed-tensors INT4",
            wanted="a checkpoint that TensorRT-LLM loads: FP8 or NVFP4",
            fix="serve the INT4 checkpoint with vLLM or SGLang, or take an NVFP4 one",
        )


def _k25_trtllm(s: Subject) -> Iterator[Breach]:
    if s.model is None or s.model.quantization != "compressed-tensors-int4":
        yield from _too_old(s, "kimi-k2.5", "1.3")


def _nvfp4(s: Subject) -> Iterator[Breach]:
    if "nvfp4" in s.written_model.lower() and generation(s) in ("hopper", "older"):
        yield Breach(
            options=("model",),
            found=f"{s.written_model} on {s.gpu}",
            wanted="a GPU of the Blackwell generation",
            fix="on Hopper take an FP8 checkpoint, or serve INT4 with vLLM or SGLang",
        )


def _trtllm_tool_parser(s: Subject) -> Iterator[Breach]:
    parser = s.text("tool_parser")
    if parser and kind(s) and parser not in ("kimi_k2", "auto"):
        yield Breach(
            options=("tool_parser",),
            found=f"{parser} for {kind(s)}",
            wanted="kimi_k2",
            fix="write --tool_parser kimi_k2",
            edit=s.edit("tool_parser", add=(("--tool_parser", "kimi_k2"),)),
        )


def _trtllm_reasoning_parser(s: Subject) -> Iterator[Breach]:
    parser = s.text("reasoning_parser")
    if parser in ("kimi_k2", "kimi_k25"):
        yield Breach(
            options=("reasoning_parser",),
            found=f"{parser} on {s.engine} {s.release}",
            wanted="deepseek-r1, qwen3 or nano-v3",
            fix="leave it out, or take a newer release",
            edit=s.edit("reasoning_parser"),
        )


def _tool_parser(s: Subject) -> Iterator[Breach]:
    parser = s.text("tool-call-parser")
    if not parser or "tool-parser-plugin" in s.options:
        return
    if kind(s) and parser.replace("-", "_") not in ("kimi_k2", "auto", "kimi"):  # the table says what is misspelt
        yield Breach(
            options=("tool-call-parser",),
            found=f"{parser} for {kind(s)}",
            wanted="kimi_k2",
            fix="write --tool-call-parser kimi_k2",
            edit=s.edit("tool-call-parser", add=(("--tool-call-parser", "kimi_k2"),)),
        )
    elif parser == "kimi_k2" and is_another_makers(s.asked_model or ""):
        yield Breach(
            options=("tool-call-parser",), found=f"kimi_k2 for {s.asked_model}", wanted="the parser of that model"
        )


def _reasoning_parser(s: Subject) -> Iterator[Breach]:
    parser, here = s.text("reasoning-parser"), kind(s)
    if not parser or "reasoning-parser-plugin" in s.options:
        return
    unknown = s.engine == "vllm" and parser == "kimi"
    if here and parser not in ("kimi_k2", "auto") and not unknown:
        yield Breach(
            options=("reasoning-parser",),
            found=f"{parser} for {here}",
            wanted="kimi_k2",
            fix="write --reasoning-parser kimi_k2",
            edit=s.edit("reasoning-parser", add=(("--reasoning-parser", "kimi_k2"),)),
        )
    elif parser == "kimi_k2" and is_another_makers(s.asked_model or ""):
        yield Breach(
            options=("reasoning-parser",), found=f"kimi_k2 for {s.asked_model}", wanted="the parser of that model"
        )


def _no_reasoning(s: Subject) -> Iterator[Breach]:
    unknown = s.engine == "vllm" and not within(s.release, since="0.11.2")
    if not unknown and s.text("reasoning-parser") == "kimi_k2" and kind(s) in ("kimi-k2-instruct", "kimi-k2-base"):
        yield Breach(
            options=("reasoning-parser",),
            found=f"a reasoning parser for {kind(s)}, which does not think aloud",
            wanted="none",
            fix="leave it out",
            edit=s.edit("reasoning-parser"),
        )


def _remote_code(s: Subject) -> Iterator[Breach]:
    option = "trust_remote_code" if s.engine == "trtllm" else "trust-remote-code"
    if not kind(s) or option in s.options or s.given("skip-tokenizer-init"):
        return
    if s.engine == "trtllm":
        unread = s.config is None and "config" in s.options
        if unread or (s.config is not None and s.config.get("trust_remote_code") is True):
            return
    yield Breach(
        found=f"{kind(s)} without --{option}",
        wanted=f"--{option}",
        fix=f"add --{option}",
        edit=s.edit(add=((f"--{option}",),)),
    )


def _quantization_flag(s: Subject) -> Iterator[Breach]:
    asked = s.text("quantization")
    held = {"compressed-tensors-int4": ("compressed-tensors",), "fp8-block": ("fp8",)}
    if asked and s.model and s.model.quantization in held and not asked.startswith(held[s.model.quantization]):
        right = held[s.model.quantization][0]
        yield Breach(
            options=("quantization",),
            found=f"{asked} for {s.model.name}, whose config.json says {right}",
            wanted=right,
            fix="leave it out: it comes from the checkpoint",
            edit=s.edit("quantization"),
        )


def _half_precision(s: Subject) -> Iterator[Breach]:
    if s.text("dtype") in ("float32", "float") and s.model and s.model.quantization == "fp8-block":
        yield Breach(
            options=("dtype",),
            found=f"{s.text('dtype')} with {s.model.name}, whose weights are FP8",
            wanted="bfloat16 or auto",
            fix="leave it out",
            edit=s.edit("dtype"),
        )


def _encoder_of_text_model(s: Subject) -> Iterator[Breach]:
    here = kind(s)
    if here.startswith("kimi-k2-") and "mm-encoder-tp-mode" in s.options:
        yield Breach(
            options=("mm-encoder-tp-mode",),
            found=f"a vision encoder's mode for {here}, which has no encoder",
            wanted="a model with a vision encoder",
            fix="leave it out",
            edit=s.edit("mm-encoder-tp-mode"),
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="model-release",
        engines=VLLM,
        below="0.15.0",
        title="Kimi-K2.5 on a vLLM without its class",
        why="KimiK25ForConditionalGeneration is in 0.15.1 and not in 0.13.0",
        source="vllm 0.15.1, vllm/model_executor/models/kimi_k25.py",
        check=_k25_vllm,
    ),
    Rule(
        name="model-release",
        engines=VLLM,
        below="0.10.0rc1",
        title="Kimi-K2 on a vLLM below 0.10.0",
        why="its guide wants v0.10.0rc1 or later",
        source="MoonshotAI/Kimi-K2, docs/deploy_guidance.md",
        check=_k2_vllm,
    ),
    Rule(
        name="model-release",
        engines=frozenset({"sglang"}),
        below="0.5.9",
        title="Kimi-K2.5 on an SGLang without its class",
        why="the class came in 0.5.9",
        source="sglang 0.5.9, sglang/srt/models/kimi_k25.py",
        check=_k25_sglang,
    ),
    Rule(
        name="model-quantization",
        engines=TRTLLM,
        title="an INT4 checkpoint of compressed-tensors on TensorRT-LLM",
        why="it reads compressed-tensors of 8 bits alone",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/_torch/model_config.py",
        check=_int4_trtllm,
    ),
    Rule(
        name="model-release",
        engines=TRTLLM,
        below="1.3.0rc1",
        title="Kimi-K2.5 on a TensorRT-LLM without its class",
        why="its text model came in March 2026, as NVFP4 alone",
        source="NVIDIA/TensorRT-LLM#11816",
        check=_k25_trtllm,
    ),
    Rule(
        name="nvfp4-gpu",
        engines=TRTLLM,
        title="an NVFP4 checkpoint on a GPU that has no FP4",
        why="only Blackwell has FP4 tensor cores",
        source="tensorrt_llm 1.3.0rc3, docs/source/deployment-guide",
        check=_nvfp4,
    ),
    Rule(
        name="tool-parser-model",
        engines=TRTLLM,
        title="a parser of tool calls that is another model's",
        why="tool calls come back as plain text",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/serve/tool_parser",
        check=_trtllm_tool_parser,
    ),
    Rule(
        name="reasoning-parser-release",
        engines=TRTLLM,
        below="1.4",
        title="Kimi's parser of reasoning on a release without it",
        why="1.3.0rc3 knows deepseek-r1, qwen3 and nano-v3; kimi_k2 and kimi_k25 came later",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/llmapi/reasoning_parser.py",
        check=_trtllm_reasoning_parser,
    ),
    Rule(
        name="tool-parser-model",
        engines=VLLM | SGLANG,
        title="a parser of tool calls that is another model's",
        why="tool calls come back as plain text",
        source=_RECIPE,
        check=_tool_parser,
    ),
    Rule(
        name="reasoning-parser-model",
        engines=VLLM | SGLANG,
        title="a parser of reasoning that is another model's",
        why="reasoning is not told from the answer",
        source=_RECIPE,
        check=_reasoning_parser,
    ),
    Rule(
        name="reasoning-parser-instruct",
        engines=VLLM | SGLANG,
        level="warning",
        title="a parser of reasoning for an instruct model",
        why="a text without an end of reasoning is taken for reasoning as a whole",
        source="MoonshotAI/Kimi-K2, docs/deploy_guidance.md; vllm 0.19.1, vllm/reasoning/kimi_k2_reasoning_parser.py",
        check=_no_reasoning,
    ),
    Rule(
        name="trust-remote-code",
        engines=VLLM | SGLANG | TRTLLM,
        title="a Kimi model without --trust-remote-code",
        why="its tokenizer and processor are code in the checkpoint",
        source=_RECIPE,
        check=_remote_code,
    ),
    Rule(
        name="quantization-model",
        engines=VLLM | SGLANG,
        title="a quantisation that is not the checkpoint's",
        why="ValueError: the method in the model's config does not match the argument",
        source="vllm 0.19.1, vllm/config/model.py: _verify_quantization",
        check=_quantization_flag,
    ),
    Rule(
        name="dtype-quantization",
        engines=VLLM | SGLANG,
        title="32-bit activations with FP8 weights",
        why="ValueError: float32 is not among the types that the method's kernels take",
        source="vllm 0.19.1, vllm/config/vllm.py: _get_quantization_config",
        check=_half_precision,
    ),
    Rule(
        name="encoder-of-text-model",
        engines=VLLM,
        level="warning",
        title="a mode of the vision encoder for a text model",
        why="there is no encoder, so it does nothing",
        source="config.json of Kimi-K2",
        check=_encoder_of_text_model,
    ),
)
