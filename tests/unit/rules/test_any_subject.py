"""No subject, however odd its values, makes a rule raise; and what only the run knows breaks none."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from infra.flags import table as tables
from infra.flags.words import UNKNOWN
from infra.rules import Script, Step, Subject, findings, script_findings
from infra.rules.command import with_parallelism
from infra.rules.recognise import recognise

ODD: Sequence[Any] = (
    *(None, UNKNOWN, True, False, 0, 1, 2, 3, 7, 8, 16, -1, 10**12, 0.5, -0.5, 95.0, "", "x", "ray", "fp8", "eagle3"),
    *("moonshotai/Kimi-K2.5", "/m/kimi-k2.5", "a$:1", "localhost:0", ":", "$X", "RAWINT4", (), (1, 2), ("a", None)),
    *({}, {"model": None, "method": 3}, {"num_redundant_experts": "x", "window_size": -1, "step_interval": None}),
    *({"backend": 1}, {"model": "kimi-k2.5-eagle3", "method": "eagle3", "num_speculative_tokens": UNKNOWN}),
)
ENGINES = [(engine, tables.newest(engine)) for engine in ("vllm", "sglang", "sglang-kt", "kt-kernel", "trtllm")]
MODELS = [recognise(name) for name in ("moonshotai/Kimi-K2.5", "moonshotai/Kimi-K2-Instruct", "unknown/model")]


def odd_subject(engine: str, release: str, dice: random.Random) -> Subject:
    """A subject with a handful of the release's options and any values."""
    names = [name.lstrip("-") for name in tables.load(engine, release).flags] + ["model"]
    options = {name: dice.choice(ODD) for name in dice.sample(names, min(len(names), dice.randint(0, 60)))}
    return with_parallelism(
        Subject(
            engine=engine,
            release=dice.choice((release, "0.0.1", "", "main")),
            options=options,
            texts={name: str(value) for name, value in options.items()},
            env={"NCCL_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": dice.choice(("", "0", ",,"))},
            model=dice.choice(MODELS),
            nodes=dice.choice((None, 0, 2)),
            gpus_per_node=dice.choice((None, 0, 8)),
            gpu=dice.choice((None, "", "NVIDIA H200", "B200")),
            cpu_flags=dice.choice((None, frozenset(), frozenset({"avx2"}))),
            cores=dice.choice((None, 0, 64)),
            numa_nodes=dice.choice((None, 2)),
            host_memory_gib=dice.choice((None, 0.0, 480.0)),
            processes=dice.choice((None, 0, 16)),
            slots=dice.choice((None, 2)),
            forwarded=dice.choice((None, frozenset())),
            launched_by=dice.choice(((), ("mpirun",), ("mpirun", "trtllm-llmapi-launch"))),
            published=dice.random() < 0.5,
            packages=dice.choice(({}, {"vllm": ""}, {"vllm": "==0.19.1", "ray": ""})),
            config=dice.choice((None, {}, {"tensor_parallel_size": "x", "cuda_graph_config": 3}, {"a": {"b": []}})),
            config_place="line x",
            commanded=dice.random() < 0.8,
        )
    )


@pytest.mark.parametrize(("engine", "release"), ENGINES)
def test_any_values(engine: str, release: str) -> None:
    dice = random.Random(engine)  # noqa: S311 - the same subjects in each run
    for _ in range(400):
        subjects = (odd_subject(engine, release, dice), odd_subject(engine, release, dice))
        for subject in subjects:
            for found in findings(subject):
                assert found.problem.source
                assert str(found.problem)
        steps = (Step(words=("vllm", "bench", "serve", "--model"), place=""), Step(words=(), place=""))
        list(script_findings(Script(subjects=subjects, steps=steps, text=(("", "thinking_token_budget: 1"),))))


@pytest.mark.parametrize(("engine", "release"), ENGINES)
def test_what_only_the_run_knows_breaks_no_rule_about_values(engine: str, release: str) -> None:
    flags = tables.load(engine, release).flags
    for name, flag in flags.items():
        if not flag.takes_value or name.lstrip("-") in (
            "nnodes",
            "kt-cpuinfer",
            "eplb-config",
            "data-parallel-rpc-port",
        ):
            continue
        option = name.lstrip("-")
        subject = with_parallelism(
            Subject(engine=engine, release=release, options={option: UNKNOWN}, texts={option: "$X"})
        )
        errors = [found.problem for found in findings(subject) if found.problem.level == "error"]
        alone = [problem for problem in errors if "without" in problem.found]
        assert errors == alone, option
