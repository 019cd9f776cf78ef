"""KT-Kernel: methods and the CPUs that they need, cores and NUMA nodes, RAM, and flags that need each other."""

from collections.abc import Iterator, Mapping

from infra.flags.near import nearest_name
from infra.rules.gpus import generation
from infra.rules.release import within
from infra.rules.rule import KT, SGLANG, Breach, Rule
from infra.rules.subject import Subject

METHODS = (
    "AMXINT4",
    "AMXINT8",
    "RAWINT4",
    "FP8",
    "BF16",
    "FP8_PERCHANNEL",
    "GPTQ_INT4",
    "SYCL_GPTQ_INT4",
    "MXFP4",
    "NVFP4",
    "MXFP8",
    "LLAMAFILE",
    "MOE_INT4",
    "MOE_INT8",
)
_HYBRID = frozenset({"kt-cpuinfer", "kt-method", "kt-threadpool-count"})
"""What is given by somebody who means the CPU to compute."""
AMX = frozenset({"amx_tile", "amx_int8"})
AVX512 = frozenset({"avx512f", "avx512bw"})
NEEDS: Mapping[str, frozenset[str]] = {
    "AMXINT4": AMX,
    "AMXINT8": AMX,
    "FP8_PERCHANNEL": AVX512 | {"avx512_bf16", "avx512_vbmi"},
    "LLAMAFILE": frozenset({"avx2"}),
    "BF16": frozenset({"avx2"}),
    "FP8": frozenset({"avx2"}),
}
BYTES_PER_RAW_INT4 = 0.625
"""INT4 and scales widened to FP32 (4 bytes a group of 32), of every expert, whatever the GPUs hold."""
_EXPERTS = "kt-kernel 0.7.2, kt_kernel/experts.py"
_CPU = "kt-kernel 0.7.2, kt_kernel/utils/amx.py and README"
_DOC = "kvcache-ai/ktransformers, doc/en/Kimi-K2.5.md"
ENGINES = SGLANG | KT


def _used(s: Subject) -> bool:
    return s.engine == "kt-kernel" or "kt-weight-path" in s.options


def _method(s: Subject) -> str:
    """The method as kt-kernel reads it; AMXINT4 is the default of SGLang, "" is what the run decides."""
    if "kt-method" in s.options:
        return s.text("kt-method") or ""
    return "AMXINT4" if _used(s) and s.engine != "kt-kernel" else ""


def _known_method(s: Subject) -> Iterator[Breach]:
    method = s.text("kt-method")
    if method and method not in METHODS:
        near = nearest_name(method.upper(), METHODS)
        yield Breach(
            options=("kt-method",),
            found=method,
            wanted=f"one of {', '.join(METHODS)}",
            fix=f"write {near}" if near else None,
            edit=s.edit("kt-method", add=(("--kt-method", near),)) if near else None,
        )


def _cpu(s: Subject) -> Iterator[Breach]:
    method = _method(s)
    if s.cpu_flags is None or method not in NEEDS or not _used(s):
        return
    missing = sorted(NEEDS[method] - s.cpu_flags)
    if missing:
        other = "RAWINT4" if method.startswith("AMX") and s.cpu_flags >= AVX512 else ""
        yield Breach(
            options=("kt-method", "kt-weight-path"),
            found=f"{method} on a CPU without {', '.join(missing)}",
            wanted=f"a CPU with {', '.join(sorted(NEEDS[method]))}",
            fix=f"write --kt-method {other}" if other else None,
            edit=s.edit("kt-method", add=(("--kt-method", other),)) if other else None,
        )


def _default_method(s: Subject) -> Iterator[Breach]:
    weights = s.texts.get("kt-weight-path")
    raw = s.model is not None and s.model.quantization == "compressed-tensors-int4"
    if weights and "kt-method" not in s.options and raw and weights == (s.texts.get("model-path") or s.written_model):
        yield Breach(
            options=("kt-weight-path",),
            found="the published INT4 checkpoint without --kt-method",
            wanted="--kt-method RAWINT4",
            fix="add --kt-method RAWINT4",
            edit=s.edit(add=(("--kt-method", "RAWINT4"),)),
        )


def _raw_on_avx2(s: Subject) -> Iterator[Breach]:
    if _method(s) != "RAWINT4" or s.cpu_flags is None or s.cpu_flags >= AVX512:
        return
    vnni = "avx_vnni" in s.cpu_flags
    if vnni and within(s.release, since="0.6.4"):
        return
    crashes = within(s.release, since="0.6.2")
    yield Breach(
        options=("kt-method",),
        found=f"RAWINT4 on a CPU without AVX512F and AVX512BW, with {s.engine} {s.release}",
        wanted="a CPU with AVX512F and AVX512BW",
        why="its AVX2 class unmaps each layer after loading, and crashes at the first expert of the CPU"
        if crashes
        else "this release refuses to load it there",
        fix="use a machine with AVX512, or another method",
    )


VARIANTS: Mapping[str, frozenset[str]] = {
    "amx": AMX | {"amx_bf16"} | AVX512,
    "avx512_bf16": AVX512 | {"avx512_bf16", "avx512_vbmi"},
    "avx512_vbmi": AVX512 | {"avx512_vbmi"},
    "avx512_vnni": AVX512 | {"avx512_vnni"},
    "avx512_base": AVX512,
    "avx2": frozenset({"avx2"}),
}


def _variant(s: Subject) -> Iterator[Breach]:
    variant = s.env.get("KT_KERNEL_CPU_VARIANT", "")
    if s.cpu_flags is None or variant not in VARIANTS:
        return
    missing = sorted(VARIANTS[variant] - s.cpu_flags)
    if missing:
        yield Breach(
            found=f"KT_KERNEL_CPU_VARIANT={variant} on a CPU without {', '.join(missing)}",
            wanted="a variant that the CPU has",
            fix="leave it out: the wheel picks by itself",
        )


def _forced_avx2(s: Subject) -> Iterator[Breach]:
    if _method(s) == "RAWINT4" and s.env.get("KT_RAWINT4_BACKEND") == "avx2":
        yield Breach(
            found="KT_RAWINT4_BACKEND=avx2",
            wanted="another class: amx, amx_blocked or avxvnni",
            fix="leave it out",
        )


def _avx2_pools(s: Subject) -> Iterator[Breach]:
    pools = s.number("kt-threadpool-count")
    plain = s.cpu_flags is not None and not s.cpu_flags >= AVX512
    if _method(s) == "RAWINT4" and plain and pools is not None and pools != 1:
        yield Breach(
            options=("kt-threadpool-count",),
            found=f"{pools} thread pools for RAWINT4 without AVX512",
            wanted="1",
            fix="write --kt-threadpool-count 1",
            edit=s.edit("kt-threadpool-count", add=(("--kt-threadpool-count", "1"),)),
        )


def _threads(s: Subject) -> Iterator[Breach]:
    threads = s.number("kt-cpuinfer")
    if threads is not None and s.cores and threads > s.cores:
        yield Breach(
            options=("kt-cpuinfer",),
            found=f"{threads} threads on {s.cores} physical cores",
            wanted=f"at most {s.cores}",
            fix=f"write --kt-cpuinfer {s.cores}",
            edit=s.edit("kt-cpuinfer", add=(("--kt-cpuinfer", str(s.cores)),)),
        )


def _pools(s: Subject) -> Iterator[Breach]:
    pools = s.number("kt-threadpool-count")
    avx512 = s.cpu_flags is None or s.cpu_flags >= AVX512
    if pools is not None and s.numa_nodes and pools != s.numa_nodes and avx512:
        yield Breach(
            options=("kt-threadpool-count",),
            found=f"{pools} thread pools on {s.numa_nodes} NUMA nodes",
            wanted=str(s.numa_nodes),
            fix=f"write --kt-threadpool-count {s.numa_nodes}",
            edit=s.edit("kt-threadpool-count", add=(("--kt-threadpool-count", str(s.numa_nodes)),)),
        )


def _gpu_experts(s: Subject) -> Iterator[Breach]:
    held, experts = s.number("kt-num-gpu-experts"), s.model.architecture.experts if s.model else 0
    if held is not None and (held < 0 or (experts and held > experts)):
        yield Breach(
            options=("kt-num-gpu-experts",),
            found=f"{held} experts of a layer on the GPUs",
            wanted=f"0 to {experts}" if experts else "0 or more",
        )


def raw_int4_gib(s: Subject) -> float:
    """RAM of all experts under RAWINT4 on AVX512, in GiB; 0 where the model is not known."""
    if s.model is None:
        return 0.0
    a = s.model.architecture
    routed = (a.layers - a.dense_layers) * a.experts * 3 * a.hidden * a.expert_intermediate
    return routed * BYTES_PER_RAW_INT4 / 2**30


def _memory(s: Subject) -> Iterator[Breach]:
    avx512 = s.cpu_flags is None or s.cpu_flags >= AVX512
    wanted = raw_int4_gib(s)
    if _method(s) == "RAWINT4" and avx512 and wanted and s.host_memory_gib and s.host_memory_gib < wanted:
        yield Breach(
            options=("kt-method", "kt-weight-path"),
            found=f"{s.host_memory_gib:.0f} GiB of RAM for the experts of {s.model.name if s.model else ''}",
            wanted=f"{wanted:.1f} GiB, and room for loading: {wanted - s.host_memory_gib:.0f} GiB are missing at least",
            fix="ask for 750 to 800 GiB" if wanted > 500 else None,
        )


def _without_weights(s: Subject) -> tuple[str, ...]:
    given = tuple(name for name in s.options if name.startswith("kt-"))
    return given if s.engine != "kt-kernel" and not _used(s) else ()


def _alone(s: Subject) -> Iterator[Breach]:
    given = _without_weights(s)
    if not _HYBRID.isdisjoint(given):
        yield _no_weights(given)


def _placed_alone(s: Subject) -> Iterator[Breach]:
    given = _without_weights(s)
    if given and _HYBRID.isdisjoint(given):
        yield _no_weights(given)


def _no_weights(given: tuple[str, ...]) -> Breach:
    return Breach(
        options=given,
        found=f"--{given[0]} without --kt-weight-path",
        wanted="--kt-weight-path: the folder of the CPU's weights",
        fix="add --kt-weight-path",
    )


def _dynamic(s: Subject) -> Iterator[Breach]:
    if s.given("kt-enable-dynamic-expert-update") and "kt-gpu-prefill-token-threshold" not in s.options:
        yield Breach(
            options=("kt-enable-dynamic-expert-update",),
            found="--kt-enable-dynamic-expert-update without --kt-gpu-prefill-token-threshold",
            wanted="both",
            fix="add --kt-gpu-prefill-token-threshold 400, or leave it out",
            edit=s.edit("kt-enable-dynamic-expert-update"),
        )


def _gpu(s: Subject) -> Iterator[Breach]:
    if _used(s) and generation(s) == "blackwell" and s.engine != "sglang":
        yield Breach(
            options=("kt-weight-path",),
            found=f"kt-kernel's wheel on {s.gpu}",
            wanted="a GPU of compute capability 8.0, 8.6, 8.9 or 9.0",
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="kt-method",
        engines=ENGINES,
        title="a method that kt-kernel has not",
        why="the parser takes any word, and the server dies after it has begun to load",
        source=_EXPERTS,
        check=_known_method,
    ),
    Rule(
        name="kt-method-cpu",
        engines=ENGINES,
        title="a method on a CPU without its instructions",
        why="kt-kernel refuses it, or dies of an illegal instruction",
        source=_CPU,
        check=_cpu,
    ),
    Rule(
        name="kt-method-default",
        engines=ENGINES,
        title="the published INT4 weights with the default method",
        why="the default is AMXINT4, whose weights convert_cpu_weights.py makes",
        source="sglang-kt 0.7.2, sglang/srt/server_args.py: kt_method",
        check=_default_method,
    ),
    Rule(
        name="kt-rawint4-avx2",
        engines=ENGINES,
        title="RAWINT4 on a CPU without AVX512",
        why="no wheel runs it there: older ones refuse to load, 0.6.2.post3 to 0.7.2 crash",
        source="kt-kernel 0.7.2 and kvcache-ai/ktransformers f05b4009: AVX2RawInt4_MOE, run on a synthetic layer",
        check=_raw_on_avx2,
    ),
    Rule(
        name="kt-forced-avx2",
        engines=ENGINES,
        since="0.6.2.post3",
        below="0.7.3",
        title="RAWINT4's AVX2 class, by force",
        why="in these wheels it unmaps each layer after loading, and crashes at the first expert of the CPU",
        source="kt-kernel 0.6.2.post3 to 0.7.2: AVX2RawInt4_MOE, run on a synthetic layer",
        check=_forced_avx2,
    ),
    Rule(
        name="kt-variant",
        engines=ENGINES,
        title="a build of kt-kernel that the CPU can't run, by force",
        why="the process dies of an illegal instruction",
        source="kt-kernel 0.7.2, kt_kernel/_cpu_detect.py",
        check=_variant,
    ),
    Rule(
        name="kt-avx2-pools",
        engines=ENGINES,
        title="RAWINT4's AVX2 class with several thread pools",
        why="the class works with one",
        source="kvcache-ai/ktransformers, doc/en/kt-kernel/AVX2-Tutorial.md",
        check=_avx2_pools,
    ),
    Rule(
        name="kt-cores",
        engines=ENGINES,
        level="warning",
        title="more threads than physical cores",
        why="--kt-cpuinfer counts physical cores: a second thread of a core slows the first",
        source=_DOC,
        check=_threads,
    ),
    Rule(
        name="kt-numa",
        engines=ENGINES,
        level="warning",
        title="a number of thread pools that is not the number of NUMA nodes",
        why="each pool works on the memory of one NUMA node",
        source=_DOC,
        check=_pools,
    ),
    Rule(
        name="kt-gpu-experts",
        engines=ENGINES,
        title="more experts on the GPUs than a layer has",
        why="it counts the experts of one layer",
        source=_EXPERTS,
        check=_gpu_experts,
    ),
    Rule(
        name="kt-memory",
        engines=ENGINES,
        title="less RAM than RAWINT4 holds",
        why="on AVX512 and AMX all experts of every layer are resident, 0.625 bytes a parameter; --kt-num-gpu-experts "
        "does not lower it",
        source="sglang-kt 0.7.2, kt_ep_wrapper.py; kt-kernel k2-moe.hpp; measured on a synthetic layer",
        check=_memory,
    ),
    Rule(
        name="kt-alone",
        engines=ENGINES,
        title="options of kt-kernel without its weights",
        why="without --kt-weight-path SGLang makes no use of kt-kernel, and reads none of them",
        source="sglang-kt 0.7.2, sglang/srt/layers/moe/kt_ep_wrapper.py: create_kt_config_from_server_args",
        check=_alone,
    ),
    Rule(
        name="kt-alone",
        engines=ENGINES,
        level="warning",
        title="a placement of experts without kt-kernel's weights, as kt-kernel's tutorials abridge it",
        why="without --kt-weight-path SGLang makes no use of kt-kernel, and all experts go to the GPUs",
        source="sglang-kt 0.7.2, sglang/srt/layers/moe/kt_ep_wrapper.py: create_kt_config_from_server_args",
        check=_placed_alone,
    ),
    Rule(
        name="kt-dynamic-update",
        engines=ENGINES,
        level="warning",
        title="the dynamic update of experts without layer-wise prefill",
        why="it happens in layer-wise prefill alone, which the threshold turns on",
        source="sglang-kt 0.7.2, kt_ep_wrapper.py",
        check=_dynamic,
    ),
    Rule(
        name="kt-gpu",
        engines=ENGINES,
        title="kt-kernel's wheel on a GPU that it is not built for",
        why="its GPU part is built for sm80, sm86, sm89 and sm90",
        source="kt-kernel 0.7.2: the wheel's cubins",
        check=_gpu,
    ),
)
