"""What SGLang's own configuration refuses, or takes and does nothing with."""

from collections.abc import Iterator

from infra.rules.release import within
from infra.rules.rule import SGLANG, Breach, Rule
from infra.rules.subject import Subject

NEWER = "0.5.11"
"""From here on what 0.5.23 was read to allow may be allowed."""
_CHECK = "sglang 0.5.9, sglang/srt/server_args.py: check_server_args"


def _a2a(s: Subject) -> bool:
    """Whether an all-to-all back end is asked for, by a flag of the release or by one that it has no more."""
    backend = s.options.get("moe-a2a-backend", "none")
    return backend != "none" or s.given("enable-deepep-moe") or "--enable-deepep-moe" in s.unknown


def _shared(s: Subject) -> bool:
    return s.given("enable-dp-attention") or "attn-dp-size" in s.options


def _no_program(s: Subject) -> Iterator[Breach]:
    if s.program == "sglang serve":
        yield Breach(
            word="sglang",
            found=f"sglang serve with sglang {s.release}",
            wanted="python3 -m sglang.launch_server",
            fix="write python3 -m sglang.launch_server",
        )


def _overlap(s: Subject) -> Iterator[Breach]:
    without = within(s.release, since=NEWER) and _shared(s)
    if s.given("enable-two-batch-overlap") and not _a2a(s) and not without:
        yield Breach(
            options=("enable-two-batch-overlap",),
            found="--enable-two-batch-overlap without an all-to-all back end",
            wanted="--moe-a2a-backend deepep or another",
            fix="add --moe-a2a-backend deepep",
            edit=s.edit("moe-a2a-backend", add=(("--moe-a2a-backend", "deepep"),)),
        )


def _deepep_mode(s: Subject) -> Iterator[Breach]:
    if "deepep-mode" in s.options and not _a2a(s):
        yield Breach(
            options=("deepep-mode",),
            found="--deepep-mode without DeepEP",
            wanted="--moe-a2a-backend deepep beside it",
            fix="add --moe-a2a-backend deepep, or leave it out",
            edit=s.edit("moe-a2a-backend", add=(("--moe-a2a-backend", "deepep"),)),
        )


def _graph_sizes(s: Subject) -> int | None:
    """The largest batch that CUDA graphs are captured for, where that is given."""
    for name in ("cuda-graph-bs", "cuda-graph-bs-decode"):
        sizes = s.options.get(name)
        listed = [size for size in sizes if isinstance(size, int)] if isinstance(sizes, tuple | list) else []
        if listed:
            return max(listed)
        if isinstance(sizes, int):
            return sizes
    return s.number("cuda-graph-max-bs")


def _dispatch(s: Subject) -> Iterator[Breach]:
    given = s.env.get("SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK", "")
    if not given.isdigit() or not _a2a(s):
        return
    limit, captured = int(given), _graph_sizes(s)
    if limit > 1024:
        yield Breach(
            found=f"SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK={limit}",
            wanted="at most 1024",
            why="SGLang asserts it",
        )
    elif captured and captured > limit and s.options.get("deepep-mode", "auto") in ("auto", "low_latency"):
        yield Breach(
            options=("cuda-graph-bs", "cuda-graph-bs-decode", "cuda-graph-max-bs"),
            found=f"batches of {captured}, of which a rank may send {limit}",
            wanted=f"SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK of at least {captured}",
            fix=f"set it to {captured}" if captured <= 1024 else None,
        )


def _lm_head(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    if s.given("enable-dp-lm-head") and not _shared(s) and p and p.data > 1:
        yield Breach(
            options=("enable-dp-lm-head",),
            found="--enable-dp-lm-head without DP attention",
            wanted="--enable-dp-attention beside it",
            fix="add --enable-dp-attention",
            edit=s.edit(add=(("--enable-dp-attention",),)),
        )


def _attention_alone(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    if s.given("enable-dp-attention") and p and p.data == 1:
        yield Breach(
            options=("enable-dp-attention",),
            found="--enable-dp-attention with a data size of 1",
            wanted="--dp-size above 1",
            fix=f"add --dp-size {p.tensor}" if p.tensor > 1 else "leave it out",
        )


def _dense_size(s: Subject) -> Iterator[Breach]:
    size = s.number("moe-dense-tp-size")
    whole = s.parallelism.tensor if s.parallelism and within(s.release, since=NEWER) else 1
    if size is not None and size not in (1, whole):
        yield Breach(
            options=("moe-dense-tp-size",),
            found=str(size),
            wanted="1",
            fix="write 1, or leave it out",
            edit=s.edit("moe-dense-tp-size", add=(("--moe-dense-tp-size", "1"),)),
        )


def _mixed_pipeline(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    if p and p.pipeline > 1 and s.given("enable-mixed-chunk"):
        yield Breach(
            options=("enable-mixed-chunk",),
            found="--enable-mixed-chunk with pipeline parallelism",
            wanted="one of them",
            fix="leave out --enable-mixed-chunk",
            edit=s.edit("enable-mixed-chunk"),
        )


def _decode_sizes(s: Subject) -> Iterator[Breach]:
    given = [name for name in ("disaggregation-decode-tp", "disaggregation-decode-dp") if name in s.options]
    if s.options.get("disaggregation-mode") == "decode" and given:
        yield Breach(
            options=tuple(given),
            found=f"--{given[0]} on the decode server",
            wanted="it on the prefill server",
            fix="leave it out here",
            edit=s.edit(*given),
        )


def _served_name(s: Subject) -> Iterator[Breach]:
    name = s.text("served-model-name")
    if name and ":" in name:
        yield Breach(
            options=("served-model-name",),
            found=name,
            wanted="a name without a colon",
            why="the colon separates a model from its LoRA adapter: SGLang asserts that there is none",
        )


def _priority(s: Subject) -> Iterator[Breach]:
    policy = s.text("schedule-policy")
    if s.given("enable-priority-scheduling") and policy not in (None, "fcfs", "lof"):
        yield Breach(options=("schedule-policy",), found=f"{policy} with priorities", wanted="fcfs or lof")


def _ib_devices(s: Subject) -> Iterator[Breach]:
    devices = [name.strip() for name in (s.text("disaggregation-ib-device") or "").split(",") if name.strip()]
    twice = sorted({name for name in devices if devices.count(name) > 1})
    if twice:
        yield Breach(options=("disaggregation-ib-device",), found=f"{twice[0]} twice", wanted="each device once")


def _tokenizer_batching(s: Subject) -> Iterator[Breach]:
    if s.given("enable-tokenizer-batch-encode") and s.given("enable-dynamic-batch-tokenizer"):
        yield Breach(
            options=("enable-tokenizer-batch-encode",),
            found="--enable-tokenizer-batch-encode and --enable-dynamic-batch-tokenizer",
            wanted="one of them",
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="sglang-program",
        engines=frozenset({"sglang"}),
        below="0.5.0",
        title="the program sglang with a release that has none",
        why="the wheel brings no console script",
        source="sglang 0.4.9.post6: no entry_points.txt; 0.5.9: sglang.cli.main",
        check=_no_program,
    ),
    Rule(
        name="two-batch-overlap",
        engines=SGLANG,
        since="0.5.9",
        title="two-batch overlap without an all-to-all back end",
        why="ValueError: moe_a2a_backend cannot be 'none' (0.5.23 takes DP attention instead)",
        source=_CHECK,
        check=_overlap,
    ),
    Rule(
        name="deepep-mode-alone",
        engines=SGLANG,
        level="warning",
        title="a mode of DeepEP without DeepEP",
        why="it is read only by the DeepEP back end",
        source="sglang 0.5.9, sglang/srt/server_args.py: _handle_a2a_moe",
        check=_deepep_mode,
    ),
    Rule(
        name="deepep-dispatch",
        engines=SGLANG,
        title="larger batches than DeepEP's buffers take",
        why="the low-latency kernels send at most SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK tokens a rank",
        source="sglang 0.5.9, sglang/srt/layers/moe/token_dispatcher/deepep.py",
        check=_dispatch,
    ),
    Rule(
        name="dp-lm-head",
        engines=SGLANG,
        title="a data-parallel output layer without DP attention",
        why="SGLang asserts: Please enable dp attention when setting enable_dp_lm_head",
        source="sglang 0.5.9, sglang/srt/server_args.py: _handle_data_parallelism",
        check=_lm_head,
    ),
    Rule(
        name="dp-attention-alone",
        engines=SGLANG,
        level="warning",
        title="DP attention with one data rank",
        why="it is switched off again when the data size is 1",
        source="sglang 0.5.9, sglang/srt/server_args.py: _handle_data_parallelism",
        check=_attention_alone,
    ),
    Rule(
        name="dense-tensor-size",
        engines=SGLANG,
        title="a tensor size of the dense layers other than 1",
        why="SGLang asserts that it is 1; 0.5.23 takes the tensor size too",
        source=_CHECK,
        check=_dense_size,
    ),
    Rule(
        name="mixed-chunk-pipeline",
        engines=SGLANG,
        below=NEWER,
        title="mixed chunks with a pipeline",
        why="SGLang asserts against it",
        source=_CHECK,
        check=_mixed_pipeline,
    ),
    Rule(
        name="decode-sizes",
        engines=SGLANG,
        title="the decode server's sizes given to the decode server",
        why="SGLang asserts that only the prefill server is told them",
        source="sglang 0.5.9, sglang/srt/server_args.py: _handle_pd_disaggregation",
        check=_decode_sizes,
    ),
    Rule(
        name="served-name-colon",
        engines=SGLANG,
        since="0.5.9",
        title="a served name with a colon",
        why="the colon separates a model from its LoRA adapter",
        source=_CHECK,
        check=_served_name,
    ),
    Rule(
        name="priority-policy",
        engines=SGLANG,
        since="0.5.9",
        title="priorities with a policy that has none",
        why="SGLang asserts fcfs or lof",
        source=_CHECK,
        check=_priority,
    ),
    Rule(
        name="ib-devices",
        engines=SGLANG,
        title="an InfiniBand device named twice",
        why="ValueError: Duplicate IB devices specified",
        source="sglang 0.5.9, sglang/srt/server_args.py: _validate_ib_devices",
        check=_ib_devices,
    ),
    Rule(
        name="tokenizer-batching",
        engines=SGLANG,
        title="two ways of batching the tokenizer",
        why="ValueError: Please choose one tokenizer batching approach",
        source="sglang 0.5.9, sglang/srt/server_args.py: _handle_tokenizer_batching",
        check=_tokenizer_batching,
    ),
)
