"""Commands beside the servers: benchmarks, load balancers, tuning, requests; and servers that must agree."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from infra.flags.finding import Edit
from infra.rules.distributions import installed, pinned
from infra.rules.network import DEFAULT_PORTS
from infra.rules.recognise import recognise
from infra.rules.release import key, within
from infra.rules.script import Flaw, Script, ScriptRule, Step
from infra.rules.subject import Subject, normal

_MODEL_ASKED = re.compile(r'"model"\s*:\s*"([^"$<{]{1,200})"')
_BUDGET = re.compile(r"thinking_token_budget[\"'`]*\s*[:=]\s*-?[0-9]+")
_MODULE_LB = re.compile(r"sglang\.srt\.disaggregation\.(launch_lb|mini_lb)")
MOE_TYPES = ("auto", "fp8_w8a8", "int8_w8a16", "int4_w4a16")
ADVISED = {
    "--quantization-param-path": "leave it out: the scales of an FP8 KV cache belong in the checkpoint",
    "--skip-non-local-expert-weights": "use --enable-ep-weight-filter (0.18 and newer), with --enable-expert-parallel",
}
"""Options of vLLM that no release from 0.10.0 to 0.33.0 has, and what to do instead."""


def served(s: Subject) -> tuple[str, ...] | None:
    """The names under which a vLLM server takes requests; None where they are not known."""
    own, adapters = _own_names(s), _adapters(s)
    return None if own is None or adapters is None else (*own, *adapters)


def _own_names(s: Subject) -> tuple[str, ...] | None:
    names = s.options.get("served-model-name")
    if names is not None:
        return _texts((names,) if isinstance(names, str) else names)
    model = s.asked_model or (s.written_model if from_path(s) else "")
    return (model,) if model else None


def _adapters(s: Subject) -> tuple[str, ...] | None:
    """The names of LoRA modules: `name=path` or JSON; None where they are loaded later, or not known."""
    if "lora-modules" not in s.options:
        return None if s.given("enable-lora") else ()
    values = s.options["lora-modules"]
    modules = values if isinstance(values, tuple | list) else (values,)
    return _texts([one.get("name") if isinstance(one, Mapping) else _before_path(one) for one in modules])


def _before_path(module: object) -> object:
    found = re.match(r'\s*\{.*"name"\s*:\s*"([^"]+)"|([^={]+)=', module) if isinstance(module, str) else None
    return (found[1] or found[2]) if found else None


def _texts(values: object) -> tuple[str, ...] | None:
    known = isinstance(values, tuple | list) and all(isinstance(one, str) for one in values)
    return tuple(map(str, values)) if known and isinstance(values, tuple | list) else None


def from_path(s: Subject) -> bool:
    """Whether the server was started from a folder, whose path is its name then."""
    return s.written_model.startswith(("/", "./", "../", "~/"))


def _option(words: tuple[str, ...], *names: str) -> str:
    """The value of an option among words; "" where it is missing or the run decides."""
    for n, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            found = value if equals else (words[n + 1] if n + 1 < len(words) else "")
            return "" if "$" in found else found
    return ""


def _is_bench(step: Step) -> bool:
    words = [word.rpartition("/")[2] for word in step.words]
    return any(words[n : n + 3] == ["vllm", "bench", "serve"] for n in range(len(words)))


def _asked(script: Script) -> Iterator[tuple[str, str, str]]:
    """(name, place, the option that says it) of each client in the document that names a model."""
    for step in script.steps:
        if _is_bench(step):
            name = _option(step.words, "--served-model-name") or _option(step.words, "--model")
            if name:
                yield name, step.place, "--model"
        elif step.words and step.words[0].rpartition("/")[2] == "curl":
            for name in _MODEL_ASKED.findall(" ".join(step.words)):
                yield name, step.place, '"model"'
    for s in script.subjects:
        benched = (s.text("served-model-name") or s.text("model")) if s.engine == "vllm-bench-serve" else None
        if benched:
            yield benched, s.where("model"), "--model"


def _servers(script: Script) -> list[Subject]:
    return [s for s in script.subjects if s.engine in ("vllm", "sglang", "sglang-kt", "trtllm", "kt-kernel")]


def _other_name(script: Script) -> Iterator[Flaw]:
    servers = [s for s in _servers(script) if not s.given("headless")]
    names = [served(s) for s in servers if s.engine == "vllm"]
    if not servers or len(names) != len(servers) or any(name is None for name in names):
        return
    known = {name for several in names for name in several or ()}
    for asked, place, word in _asked(script):
        meant = [] if asked in known else _meant(asked, [s for s in servers if from_path(s)])
        if not meant:
            continue
        unnamed = tuple(s for s in meant if "served-model-name" not in s.options)
        has = sorted({name for s in meant for name in served(s) or ()})
        yield Flaw(
            place=place,
            word=word,
            found=f"requests for {asked}",
            wanted=f"a name that is served: {', '.join(has)}",
            fix=f"add --served-model-name {asked} to vllm serve" if unnamed else f"ask for {has[0]}",
            subjects=unnamed,
            edit=Edit(add=(("--served-model-name", asked),)) if unnamed else None,
        )


def _meant(asked: str, servers: list[Subject]) -> list[Subject]:
    """The servers that a request is for: those of its model, or the one that there is."""
    if len({s.written_model for s in servers}) == 1:
        return servers
    model = recognise(asked)
    last = asked.rpartition("/")[2].lower()
    return [
        s
        for s in servers
        if (s.model == model if model and s.model else s.written_model.rpartition("/")[2].lower() == last)
    ]


def _bench_extra(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    if not pinned(asked.get("vllm", "")) or "vllm[bench]" in asked or "datasets" in asked:
        return  # an environment that is not pinned can be any
    for step in script.steps:
        if _is_bench(step) and _option(step.words, "--dataset-name") == "hf":
            yield Flaw(
                place=step.place,
                word="--dataset-name",
                found="a data set of the Hugging Face hub, and an environment without vLLM's extra bench",
                wanted="pip install 'vllm[bench]'",
                fix="pip install 'vllm[bench]'",
            )


def _release_of(script: Script, engine: str) -> str:
    """The release that the document pins, or that its commands are held against; "" is today's."""
    found = pinned(installed(script.steps).get(engine, "")) or script.pinned.get(engine, "")
    return found or next((s.release for s in script.subjects if s.engine == engine), "")


def _load_balancer(script: Script) -> Iterator[Flaw]:
    release = _release_of(script, "sglang")
    for step in script.steps:
        module = next((found for word in step.words if (found := _MODULE_LB.search(word))), None)
        if not module:
            continue
        since = "0.5.2" if module[1] == "launch_lb" else "0.5.6"
        if release and not within(release, since=since):
            continue
        yield Flaw(
            place=step.place,
            word=module[0],
            found=f"{module[0]} on sglang {release or 'of today'}",
            wanted="sglang_router.launch_router",
            why=f"the module went with {since}",
            fix="write " + " ".join(_router_words(step)),
        )


def _router_words(step: Step) -> Iterator[str]:
    for word in step.words:
        if _MODULE_LB.search(word):
            yield "sglang_router.launch_router"
            yield "--pd-disaggregation"
        else:
            yield word


def _router_alone(script: Script) -> Iterator[Flaw]:
    for step in script.steps:
        routes = any(word.startswith("sglang_router.launch_router") for word in step.words)
        split = {"--prefill", "--decode"} & set(step.words)
        if routes and split and "--pd-disaggregation" not in step.words:
            yield Flaw(
                place=step.place,
                word=min(split),
                found=f"{min(split)} without --pd-disaggregation",
                wanted="--pd-disaggregation beside it",
                fix="add --pd-disaggregation",
            )


def _legacy_server(script: Script) -> Iterator[Flaw]:
    release = _release_of(script, "ktransformers")
    if release and key(release) < key("0.4.2"):
        return
    for step in script.steps:
        word = next((w for w in step.words if w.endswith("ktransformers/server/main.py")), None)
        word = word or next((w for w in step.words if w == "ktransformers.server.main"), None)
        if word:
            yield Flaw(
                place=step.place,
                word=word,
                found=f"{word} of ktransformers {release or 'of today'}",
                wanted="SGLang's fork with kt-kernel",
                fix="python -m sglang.launch_server --model DIR --kt-weight-path DIR --kt-method METHOD … (sglang-kt)",
            )


def _moe_benchmark(script: Script) -> Iterator[Flaw]:
    for step in script.steps:
        if not any(word.endswith("benchmark_moe.py") for word in step.words):
            continue
        dtype = _option(step.words, "--dtype")
        if dtype and dtype not in MOE_TYPES:
            yield Flaw(
                place=step.place,
                word="--dtype",
                found=dtype,
                wanted=f"one of {', '.join(MOE_TYPES)}",
                fix="leave --dtype out; for INT4 experts leave the tuning out, Marlin's kernel reads no such file",
            )


def _moe_without_effect(script: Script) -> Iterator[Flaw]:
    for step in script.steps:
        if not any(word.endswith("benchmark_moe.py") for word in step.words):
            continue
        dtype = _option(step.words, "--dtype")
        model = recognise(next((step.words[n + 1] for n, w in enumerate(step.words[:-1]) if w == "--model"), ""))
        if (not dtype or dtype in MOE_TYPES) and model and model.quantization == "compressed-tensors-int4":
            yield Flaw(
                place=step.place,
                word="benchmark_moe.py",
                found=f"Triton tuning for {model.name}, whose experts are INT4",
                wanted="no tuning: the Marlin kernel serves them",
                fix="leave it out",
            )


def _token_budget(script: Script) -> Iterator[Flaw]:
    servers = [s for s in _servers(script) if s.engine == "vllm"]
    vllm = bool(servers) or "vllm" in installed(script.steps) or "vllm" in script.pinned
    if not vllm or any("reasoning-config" in s.options for s in servers):
        return
    for place, line in script.text:
        found = _BUDGET.search(line)
        if found:
            yield Flaw(
                place=place,
                word="thinking_token_budget",
                found=found[0],
                wanted="a server with --reasoning-config, or another way",
                fix='"chat_template_kwargs": {"thinking": false} in the request',
            )


def _advice(script: Script) -> Iterator[Flaw]:
    if not any(s.engine == "vllm" for s in script.subjects) and "vllm" not in installed(script.steps):
        return
    told = {option for s in script.subjects for option in s.unknown | {f"--{name}" for name in s.options}}
    for option, instead in ADVISED.items():
        if option in told:
            continue
        lines = ((place, line) for place, line in script.text if not line.lstrip().startswith("#"))
        place = next((place for place, line in lines if option in line), None)
        if place:
            yield Flaw(place=place, word=option, found=option, wanted="an option that vLLM has", fix=instead)


def _disagree(script: Script) -> Iterator[Flaw]:
    """Node commands that follow each other, of one server as their first node tells, whose sizes differ."""
    servers = [normal(s) for s in _servers(script)]
    for before, s in pairwise(servers):
        ranks = before.number("node-rank") or 0, s.number("node-rank") or 0
        if ranks[1] != ranks[0] + 1 or before.engine != s.engine or _first_node(before) != _first_node(s):
            continue
        if not _first_node(s) or before.parallelism is None or s.parallelism is None:
            continue
        if before.parallelism != s.parallelism or before.options.get("nnodes") != s.options.get("nnodes"):
            yield Flaw(
                place=s.place,
                found=f"{_sizes(s)} on node {ranks[1]}, {_sizes(before)} on node {ranks[0]}",
                wanted="the same sizes on all nodes of one server",
            )


def _first_node(s: Subject) -> str:
    return s.texts.get("dist-init-addr") or s.texts.get("master-addr") or ""


def _sizes(s: Subject) -> str:
    p = s.parallelism
    nodes = f", {s.number('nnodes')} nodes" if "nnodes" in s.options else ""
    return f"tensor {p.tensor}, pipeline {p.pipeline}, data {p.data}{nodes}" if p else "sizes"


def _same_port(script: Script) -> Iterator[Flaw]:
    """Servers that share a machine, as their GPUs tell, and a port."""
    taken: dict[int, Subject] = {}
    for s in _servers(script):
        devices = s.env.get("CUDA_VISIBLE_DEVICES", "")
        port = s.number("port") if "port" in s.options else DEFAULT_PORTS.get(s.engine)
        if not devices or "$" in devices or port is None or s.launched_by:
            continue
        other = taken.setdefault(port, s)
        if other is s:
            continue
        apart = not set(devices.split(",")) & set(other.env.get("CUDA_VISIBLE_DEVICES", "").split(","))
        hosts = {str(s.options.get("host")), str(other.options.get("host"))}
        if apart and len(hosts) == 1:
            yield Flaw(
                place=s.where("port"),
                word=s.token("port") if "port" in s.options else None,
                found=f"port {port} for two servers on the GPUs of one machine",
                wanted="a port for each",
                fix=f"add --port {port + 1}",
                subjects=(s,),
                edit=s.edit("port", add=(("--port", str(port + 1)),)),
            )


SCRIPT_RULES: tuple[ScriptRule, ...] = (
    ScriptRule(
        name="served-model-name",
        title="requests for a model by a name that the server does not have",
        why="a server that was started from a path has that path for a name: the first request gets 404",
        source="vllm 0.19.1, vllm/entrypoints/openai/serving_models.py",
        check=_other_name,
    ),
    ScriptRule(
        name="bench-extra",
        title="a benchmark with a data set, without the packages that read it",
        why="datasets and pandas come only with the extra bench",
        source="vllm 0.19.1: Provides-Extra bench",
        check=_bench_extra,
    ),
    ScriptRule(
        name="load-balancer-module",
        title="SGLang's own load balancer where the release has it no more",
        why="launch_lb went with 0.5.2, mini_lb with 0.5.6",
        source="sglang 0.5.1.post3 to 0.5.6; sglang-router 0.3.2",
        check=_load_balancer,
    ),
    ScriptRule(
        name="router-disaggregation",
        title="prefill and decode servers for a router that does not disaggregate",
        why="the router takes them only with --pd-disaggregation",
        source="sglang-router 0.3.2, sglang_router/router_args.py",
        check=_router_alone,
    ),
    ScriptRule(
        name="ktransformers-server",
        title="the server of KTransformers before 0.4.2",
        why="it was moved to archive/ in v0.4.2, and no wheel since 0.5 has it",
        source="kvcache-ai/ktransformers v0.4.1, v0.4.2; ktransformers 0.7.2: RECORD",
        check=_legacy_server,
    ),
    ScriptRule(
        name="moe-benchmark-dtype",
        title="a type that benchmark_moe.py has not",
        why="its parser exits; it also wants vLLM's sources, --trust-remote-code and, for K2.5, "
        "--model-prefix text_config",
        source="vllm 0.19.1 sdist, benchmarks/kernels/benchmark_moe.py",
        check=_moe_benchmark,
    ),
    ScriptRule(
        name="moe-benchmark-int4",
        level="warning",
        title="tuning of Triton's MoE kernel for INT4 experts",
        why="Marlin serves them on Hopper, and never reads the file",
        source="vllm 0.19.1, vllm/model_executor/layers/fused_moe/fused_marlin_moe.py",
        check=_moe_without_effect,
    ),
    ScriptRule(
        name="thinking-token-budget",
        title="a budget of thinking tokens a request, on a server without --reasoning-config",
        why="the request gets ValueError",
        source="vllm 0.19.1, vllm/v1/engine/input_processor.py",
        check=_token_budget,
    ),
    ScriptRule(
        name="advised-option",
        title="advice to use an option of vLLM that no release has",
        why="absent from 0.10.0 to 0.33.0: the parser exits",
        source="vllm 0.10.0, 0.19.1, 0.33.0: arg_utils.py",
        check=_advice,
    ),
    ScriptRule(
        name="nodes-disagree",
        title="commands for the nodes of one server that differ in their sizes",
        why="ranks wait for others that are not started",
        source="vllm-project/recipes, strategies; sglang 0.5.9, PortArgs.init_new",
        check=_disagree,
    ),
    ScriptRule(
        name="port-taken",
        title="two servers of one machine on one port",
        why="the second to bind it fails: address already in use",
        source="bind(2): EADDRINUSE",
        check=_same_port,
    ),
)
