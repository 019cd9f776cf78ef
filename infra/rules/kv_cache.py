"""The KV cache: its type, the attention back ends that read it, the longest sequence, and where else it goes."""

from collections.abc import Iterator

from infra.rules.gpus import generation
from infra.rules.rule import SGLANG, VLLM, Breach, Rule
from infra.rules.subject import Subject

BLACKWELL_ONLY = frozenset({"CUTLASS_MLA", "FLASHINFER_MLA", "trtllm_mla", "cutlass_mla", "tokenspeed_mla"})
HOPPER_ONLY = frozenset({"FLASH_ATTN_MLA"})
NO_FP8_MLA = frozenset({"FLASH_ATTN_MLA"})
NO_DENSE_MLA_TYPES = ("fp8_ds_mla", "fp8_e5m2")
_BACKENDS = "vllm 0.19.1, vllm/v1/attention/backends/mla"


def backend(s: Subject) -> tuple[str, str]:
    """The attention back end that was asked for, and by which option; ("", "") where the engine picks."""
    config = s.mapping("attention-config")
    if config is not None and isinstance(config.get("backend"), str):
        return str(config["backend"]), "attention-config"
    for name in ("attention-backend", "decode-attention-backend", "prefill-attention-backend"):
        value = s.text(name)
        if value:
            return value, name
    return s.env.get("VLLM_ATTENTION_BACKEND", "") if s.engine == "vllm" else "", ""


def _is_mla(s: Subject) -> bool:
    return s.model is not None and s.model.architecture.kv_lora_rank > 0


def _fp8(s: Subject) -> bool:
    return (s.text("kv-cache-dtype") or "").startswith("fp8")


def _fp8_backend(s: Subject) -> Iterator[Breach]:
    name, option = backend(s)
    if _fp8(s) and _is_mla(s) and name.upper() in NO_FP8_MLA:
        yield Breach(
            options=(option, "kv-cache-dtype"),
            found=f"{name} with an FP8 KV cache",
            wanted="FLASHMLA, which is what vLLM picks by itself on Hopper",
            fix="leave the back end out",
            edit=s.edit(option),
        )


def _dense_type(s: Subject) -> Iterator[Breach]:
    if s.text("kv-cache-dtype") in NO_DENSE_MLA_TYPES and s.model and s.model.repo.startswith("moonshotai/Kimi-K2"):
        yield Breach(
            options=("kv-cache-dtype",),
            found=f"{s.text('kv-cache-dtype')} for {s.model.name}, whose attention is dense MLA",
            wanted="fp8",
            fix="write --kv-cache-dtype fp8",
            edit=s.edit("kv-cache-dtype", add=(("--kv-cache-dtype", "fp8"),)),
        )


def _generation(s: Subject) -> Iterator[Breach]:
    name, option = backend(s)
    here = generation(s)
    wanted = "Blackwell" if name in BLACKWELL_ONLY else "Hopper" if name in HOPPER_ONLY else ""
    if wanted and here and here != wanted.lower():
        yield Breach(
            options=(option,),
            found=f"{name} on {s.gpu}",
            wanted=f"a GPU of the {wanted} generation",
            fix="leave the back end out: the engine picks one that the GPU has",
            edit=s.edit(option),
        )


def _block_size(s: Subject) -> Iterator[Breach]:
    size = s.number("block-size")
    flashmla = backend(s)[0].upper() == "FLASHMLA"
    if size is not None and size != 64 and _is_mla(s) and flashmla:
        yield Breach(
            options=("block-size",),
            found=f"blocks of {size} with FLASHMLA",
            wanted="64",
            fix="leave out --block-size",
            edit=s.edit("block-size"),
        )


def _fp8_chunked(s: Subject) -> Iterator[Breach]:
    if _fp8(s) and s.options.get("enable-chunked-prefill") is True:
        yield Breach(
            options=("enable-chunked-prefill",),
            found=f"an FP8 KV cache with chunked prefill on vLLM {s.release}",
            wanted="vLLM 0.17.0 or newer, or one of the two",
            fix="pin 0.19.1, or leave out --kv-cache-dtype or --enable-chunked-prefill",
            edit=s.edit("enable-chunked-prefill"),
        )


def _length(s: Subject) -> Iterator[Breach]:
    option = "max-model-len" if s.engine == "vllm" else "context-length"
    length, longest = s.number(option), s.model.architecture.context if s.model else 0
    stretched = {"hf-overrides", "rope-scaling", "json-model-override-args", "config-format"} & s.options.keys()
    allowed = s.env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") or s.env.get("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN")
    if length and longest and length > longest and not stretched and allowed in (None, "", "0"):
        yield Breach(
            options=(option,),
            found=f"sequences of {length} tokens",
            wanted=f"at most {longest}, the context of {s.model.name if s.model else 'the model'}",
            fix=f"write --{option} {longest}, or leave it out",
            edit=s.edit(option, add=((f"--{option}", str(longest)),)),
        )


def _offload_backend(s: Subject) -> Iterator[Breach]:
    if "kv-offloading-backend" in s.options and "kv-offloading-size" not in s.options:
        yield Breach(
            options=("kv-offloading-backend",),
            found="--kv-offloading-backend without --kv-offloading-size",
            wanted="both: the size in GiB",
            fix="add --kv-offloading-size, or leave it out",
            edit=s.edit("kv-offloading-backend"),
        )


def _static_share(s: Subject) -> Iterator[Breach]:
    share = s.real("mem-fraction-static")
    if share is not None and not 0 < share < 1:
        percent = f"{share / 100:g}" if 1 < share < 100 else "0.85"
        yield Breach(
            options=("mem-fraction-static",),
            found=f"{share:g}",
            wanted="a share between 0 and 1",
            fix=f"write {percent}",
            edit=s.edit("mem-fraction-static", add=(("--mem-fraction-static", percent),)),
        )


def _page(s: Subject) -> Iterator[Breach]:
    chunk, page = s.number("chunked-prefill-size"), s.number("page-size")
    if chunk and page and chunk > 0 and page > 0 and chunk % page and s.options.get("disaggregation-mode") != "decode":
        yield Breach(
            options=("chunked-prefill-size",), found=f"{chunk} in pages of {page}", wanted=f"a multiple of {page}"
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="fp8-kv-backend",
        engines=VLLM,
        below="0.33.0",
        title="an FP8 KV cache with an MLA back end that has none",
        why="its supported types are 16-bit; with MLA on Hopper only FLASHMLA reads FP8",
        source=f"{_BACKENDS}/flashattn_mla.py",
        check=_fp8_backend,
    ),
    Rule(
        name="mla-kv-type",
        engines=VLLM,
        title="a KV cache type that no back end of dense MLA has",
        why="fp8_ds_mla is for sparse back ends alone (656 bytes a token and layer), and fp8_e5m2 for none of MLA",
        source=f"vllm 0.19.1, vllm/v1/kv_cache_interface.py: MLAAttentionSpec; {_BACKENDS}",
        check=_dense_type,
    ),
    Rule(
        name="attention-backend",
        engines=VLLM | SGLANG,
        title="an attention back end for another generation of GPUs",
        why="its kernels are built for one generation alone",
        source=f"{_BACKENDS}: supports_compute_capability; sglang 0.5.9, server_args.py",
        check=_generation,
    ),
    Rule(
        name="flashmla-blocks",
        engines=VLLM,
        since="0.15.0",
        title="a block size that FLASHMLA has not",
        why="its kernels read blocks of 64",
        source=f"{_BACKENDS}/flashmla.py: get_supported_kernel_block_sizes",
        check=_block_size,
    ),
    Rule(
        name="fp8-kv-chunked",
        engines=VLLM,
        below="0.17.0",
        title="an FP8 KV cache with chunked prefill below 0.17",
        why="the two can meet in a type error there",
        source="kimi-k25-vllm-slurm-dgx-h200, section 14",
        check=_fp8_chunked,
    ),
    Rule(
        name="context-length",
        engines=VLLM | SGLANG,
        title="sequences longer than the model's context",
        why="the engine raises ValueError, for positions beyond it were never trained",
        source="vllm 0.19.1, vllm/config/model.py: _get_and_verify_max_len; config.json of the model",
        check=_length,
    ),
    Rule(
        name="kv-offloading",
        engines=VLLM,
        level="warning",
        title="a back end of KV offloading without a size",
        why="offloading is on only where --kv-offloading-size is given",
        source="vllm 0.19.1, vllm/config/cache.py: kv_offloading_backend",
        check=_offload_backend,
    ),
    Rule(
        name="memory-share",
        engines=SGLANG,
        title="a share of GPU memory that is none",
        why="it is a fraction of the GPU's memory",
        source="sglang 0.5.9, sglang/srt/server_args.py: mem_fraction_static",
        check=_static_share,
    ),
    Rule(
        name="prefill-pages",
        engines=SGLANG,
        title="chunks of prefill that are no whole pages",
        why="SGLang asserts it",
        source="sglang 0.5.9, sglang/srt/server_args.py: check_server_args",
        check=_page,
    ),
)
