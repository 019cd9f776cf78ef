"""Expert parallelism and its load balancer: who needs whom, and which weights the balancer can move."""

from collections.abc import Iterator, Mapping

from infra.rules.recognise import family
from infra.rules.release import within
from infra.rules.rule import SGLANG, VLLM, Breach, Rule
from infra.rules.subject import Subject

_PARALLEL = "vllm 0.19.1, vllm/config/parallel.py: _validate_parallel_config"
BALANCER = ("enable-eplb", "eplb-config", "num-redundant-experts", "eplb-window-size", "eplb-step-interval")


def _field(s: Subject, key: str, older: str) -> int | None:
    """A number of the balancer's configuration, by its key or by the option of older releases."""
    config = s.mapping("eplb-config")
    value = config.get(key) if config is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) else s.number(older)


def _needs_expert_parallel(s: Subject) -> Iterator[Breach]:
    movable = not any(_quantization(s))
    if s.given("enable-eplb") and not s.options.get("enable-expert-parallel", False) and movable:
        yield Breach(
            options=("enable-eplb",),
            found="EPLB without expert parallelism",
            wanted="--enable-expert-parallel beside it",
            fix="add --enable-expert-parallel, or leave EPLB out",
            edit=s.edit("enable-expert-parallel", add=(("--enable-expert-parallel",),)),
        )


def _needs_ranks(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    alone = p is not None and p.tensor * p.data <= 1 and "prefill-context-parallel-size" not in s.options
    if s.given("enable-eplb") and alone:
        yield Breach(
            options=("enable-eplb",),
            found="EPLB on one rank",
            wanted="a tensor or data size above 1",
            fix="leave it out",
            edit=s.edit(*BALANCER),
        )


def _quantization(s: Subject) -> Iterator[Breach]:
    if not s.given("enable-eplb") or s.model is None or s.model.quantization != "compressed-tensors-int4":
        return
    if s.options.get("moe-backend") == "triton" and within(s.release, since="0.20.0"):
        return
    yield Breach(
        options=("enable-eplb",),
        found=f"EPLB with {s.model.name}, whose experts are INT4 (compressed-tensors, group 32)",
        wanted="a quantisation whose MoE method supports EPLB",
        fix="leave out --enable-eplb and --eplb-config",
        edit=s.edit(*BALANCER),
    )


def _not_attached(s: Subject) -> Iterator[Breach]:
    other = s.model is None or s.model.quantization != "compressed-tensors-int4"
    if s.given("enable-eplb") and other and family(s.model.repo if s.model else s.written_model) == "kimi-k2.5":
        yield Breach(
            options=("enable-eplb",),
            found="EPLB with a Kimi-K2.5 model",
            wanted="a model class that is a MixtureOfExperts",
            fix="leave out --enable-eplb and --eplb-config",
            edit=s.edit(*BALANCER),
        )


def _interval(s: Subject) -> Iterator[Breach]:
    window = _field(s, "window_size", "eplb-window-size")
    step = _field(s, "step_interval", "eplb-step-interval")
    if not s.given("enable-eplb"):
        return
    window, step = (1000 if window is None else window), (3000 if step is None else step)
    older = s.edit("eplb-step-interval", add=(("--eplb-step-interval", str(window)),))
    if step < window:
        yield Breach(
            options=("eplb-config", "eplb-step-interval", "eplb-window-size"),
            found=f"step_interval {step} below window_size {window}",
            wanted=f"step_interval of at least {window}",
            fix=f"set step_interval to {window} or more, or window_size to {step}",
            edit=s.rewritten("eplb-config", step_interval=window) if "eplb-config" in s.options else older,
        )


def _redundant_without(s: Subject) -> Iterator[Breach]:
    redundant = _field(s, "num_redundant_experts", "num-redundant-experts")
    if redundant and not s.given("enable-eplb"):
        yield Breach(
            options=("eplb-config", "num-redundant-experts"),
            found=f"{redundant} redundant experts without EPLB",
            wanted="--enable-eplb, or no redundant experts",
            fix="add --enable-eplb, or leave the redundant experts out",
        )


def _config_without(s: Subject) -> Iterator[Breach]:
    redundant = _field(s, "num_redundant_experts", "num-redundant-experts")
    given = [name for name in BALANCER[1:] if name in s.options]
    if given and "enable-eplb" not in s.options and not redundant:
        yield Breach(
            options=tuple(given),
            found=f"--{given[0]} without --enable-eplb",
            wanted="both or none",
            fix=f"leave out --{given[0]}",
            edit=s.edit(*given),
        )


def _log_interval(s: Subject) -> Iterator[Breach]:
    config: Mapping[str, object] = s.mapping("eplb-config") or {}
    interval = config.get("log_balancedness_interval")
    if config.get("log_balancedness") is True and isinstance(interval, int) and interval <= 0:
        yield Breach(
            options=("eplb-config",),
            found=f"log_balancedness_interval {interval}",
            wanted="a number above 0",
            edit=s.rewritten("eplb-config", log_balancedness_interval=1),
        )


def _async_policy(s: Subject) -> Iterator[Breach]:
    config: Mapping[str, object] = s.mapping("eplb-config") or {}
    if config.get("use_async") is True and config.get("policy", "default") != "default":
        yield Breach(
            options=("eplb-config",),
            found=f"asynchronous balancing with the policy {config['policy']}",
            wanted="the default policy",
        )


def _all2all_alone(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    if "all2all-backend" in s.options and p and not p.expert:
        yield Breach(
            options=("all2all-backend",),
            found="--all2all-backend without expert parallelism",
            wanted="--enable-expert-parallel beside it",
            fix="leave it out, or add --enable-expert-parallel",
            edit=s.edit("all2all-backend"),
        )


def _all2all_gone(s: Subject) -> Iterator[Breach]:
    if s.text("all2all-backend") in ("pplx", "naive") and not any(_all2all_alone(s)):
        yield Breach(
            options=("all2all-backend",),
            found=f"the back end {s.text('all2all-backend')}, which is gone",
            wanted="allgather_reducescatter, deepep_high_throughput or deepep_low_latency",
            fix="leave it out",
            edit=s.edit("all2all-backend"),
        )


def _filter_alone(s: Subject) -> Iterator[Breach]:
    if s.given("enable-ep-weight-filter") and not s.options.get("enable-expert-parallel", False):
        yield Breach(
            options=("enable-ep-weight-filter",),
            found="--enable-ep-weight-filter without expert parallelism",
            wanted="--enable-expert-parallel beside it",
            fix="leave it out, or add --enable-expert-parallel",
            edit=s.edit("enable-ep-weight-filter"),
        )


def _filter_ignored(s: Subject) -> Iterator[Breach]:
    if s.given("enable-ep-weight-filter") and s.given("enable-eplb") and not any(_quantization(s)):
        yield Breach(
            options=("enable-ep-weight-filter",),
            found="--enable-ep-weight-filter together with EPLB",
            wanted="one of them",
            fix="leave out the filter, or EPLB",
            edit=s.edit("enable-ep-weight-filter"),
        )


def _alone(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    if s.given("enable-expert-parallel") and not s.given("enable-eplb") and p and p.tensor * p.data == 1:
        yield Breach(
            options=("enable-expert-parallel",),
            found="expert parallelism on one rank",
            wanted="a tensor or data size above 1",
            fix="leave it out",
            edit=s.edit("enable-expert-parallel"),
        )


def _sglang_ranks(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    if s.given("enable-eplb") and p and not p.expert and not _removed_deepep(s):
        yield Breach(
            options=("enable-eplb",),
            found="EPLB without expert parallelism",
            wanted="an expert size above 1, or an all-to-all back end",
            fix=f"add --ep-size {p.tensor}" if p.tensor > 1 else "leave it out",
        )


def _removed_deepep(s: Subject) -> bool:
    """Whether the command asks for DeepEP by the flag that its release has not; the flag's own problem says how to."""
    return "--enable-deepep-moe" in s.unknown


RULES: tuple[Rule, ...] = (
    Rule(
        name="eplb-needs-ep",
        engines=VLLM,
        title="EPLB without expert parallelism",
        why="the engine raises ValueError: enable_expert_parallel must be True to use EPLB",
        source=_PARALLEL,
        check=_needs_expert_parallel,
    ),
    Rule(
        name="eplb-needs-ranks",
        engines=VLLM,
        title="EPLB on one rank",
        why="the engine raises ValueError: there is nobody to balance with",
        source=_PARALLEL,
        check=_needs_ranks,
    ),
    Rule(
        name="eplb-quantization",
        engines=VLLM,
        title="EPLB with INT4 experts",
        why="on CUDA the Marlin method is picked, which has no EPLB: NotImplementedError in FusedMoE.__init__",
        source="vllm 0.19.1, compressed_tensors_moe.py: CompressedTensorsWNA16MarlinMoEMethod; 0.33.0 alike, but for "
        "--moe-backend triton",
        check=_quantization,
    ),
    Rule(
        name="eplb-model",
        engines=VLLM,
        below="0.20.0",
        level="warning",
        title="EPLB with a model class that it is never attached to",
        why="in 0.19.1 KimiK25ForConditionalGeneration is no MixtureOfExperts, so the balancer has nothing to do",
        source="vllm 0.19.1, vllm/model_executor/models/kimi_k25.py",
        check=_not_attached,
    ),
    Rule(
        name="eplb-interval",
        engines=VLLM,
        title="rebalancing more often than the window of statistics is long",
        why="the balancer would move experts by statistics that are not complete",
        source="kimi-k25-vllm-slurm-dgx-h200, section 7; vllm 0.19.1, vllm/distributed/eplb/eplb_state.py",
        check=_interval,
    ),
    Rule(
        name="eplb-redundant",
        engines=VLLM,
        title="redundant experts without EPLB",
        why="the engine raises ValueError: num_redundant_experts is set but EPLB is not enabled",
        source=_PARALLEL,
        check=_redundant_without,
    ),
    Rule(
        name="eplb-config-alone",
        engines=VLLM,
        level="warning",
        title="a configuration of EPLB without EPLB",
        why="it is read by nobody",
        source=_PARALLEL,
        check=_config_without,
    ),
    Rule(
        name="eplb-log-interval",
        engines=VLLM,
        title="a log interval of EPLB that is not above 0",
        why="the engine raises ValueError",
        source="vllm 0.19.1, vllm/config/parallel.py: EPLBConfig",
        check=_log_interval,
    ),
    Rule(
        name="eplb-async-policy",
        engines=VLLM,
        since="0.19.0",
        title="asynchronous balancing with a policy of one's own",
        why="ValueError: Async EPLB is only supported with the default policy",
        source="vllm 0.19.1, vllm/config/parallel.py: EPLBConfig",
        check=_async_policy,
    ),
    Rule(
        name="all2all-alone",
        engines=VLLM,
        level="warning",
        title="an all-to-all back end without expert parallelism",
        why="tokens are sent to experts only where whole experts lie on ranks",
        source="vllm 0.19.1, vllm/model_executor/layers/fused_moe/config.py: FusedMoEParallelConfig",
        check=_all2all_alone,
    ),
    Rule(
        name="all2all-gone",
        engines=VLLM,
        since="0.19.0",
        level="warning",
        title="an all-to-all back end that was removed",
        why="vLLM falls back to allgather_reducescatter",
        source=_PARALLEL,
        check=_all2all_gone,
    ),
    Rule(
        name="ep-filter-alone",
        engines=VLLM,
        level="warning",
        title="the filter of expert weights without expert parallelism",
        why="every rank needs a part of every expert then, so the filter has no effect",
        source="vllm 0.19.1, vllm/model_executor/model_loader/default_loader.py: _init_ep_weight_filter",
        check=_filter_alone,
    ),
    Rule(
        name="ep-filter-with-eplb",
        engines=VLLM,
        level="warning",
        title="the filter of expert weights together with EPLB",
        why="the loader ignores the filter when EPLB is on",
        source="vllm 0.19.1, vllm/model_executor/model_loader/default_loader.py: _init_ep_weight_filter",
        check=_filter_ignored,
    ),
    Rule(
        name="ep-alone",
        engines=VLLM,
        level="warning",
        title="expert parallelism on one rank",
        why="it takes effect only where tensor x data is above 1",
        source="vllm 0.19.1, vllm/model_executor/layers/fused_moe/config.py: FusedMoEParallelConfig",
        check=_alone,
    ),
    Rule(
        name="eplb-needs-ep",
        engines=SGLANG,
        title="EPLB without expert parallelism",
        why="SGLang asserts an expert size above 1",
        source="sglang 0.5.9, sglang/srt/server_args.py: _handle_eplb_and_dispatch",
        check=_sglang_ranks,
    ),
)
