"""Rules about a document's commands taken together, and about those that start no engine."""

import shlex
from collections.abc import Mapping

import pytest

from infra.rules import SCRIPT_RULES, Script, Step, Subject, script_findings
from infra.rules.distributions import installed, satisfies
from tests.unit.rules.subjects import subject

SERVE = subject("vllm", "0.19.1", "/models/kimi-k2.5 --trust-remote-code")
NAMED = subject("vllm", "0.19.1", "/models/kimi-k2.5 --trust-remote-code --served-model-name moonshotai/Kimi-K2.5")
LORA = subject("vllm", "0.19.1", """/m --enable-lora --lora-modules a=/a '{"name": "c", "path": "/c"}'""")
OTHER = subject("vllm", "0.19.1", "/models/other")
BENCH = "vllm bench serve --model moonshotai/Kimi-K2.5 --dataset-name hf"
CURL = """curl http://a:8000/v1/chat/completions -d '{"model": "moonshotai/Kimi-K2.5", "messages": []}'"""
DOWNLOAD = "huggingface-cli download moonshotai/Kimi-K2.5 --local-dir /m --local-dir-use-symlinks False"
ROUTER = "python -m sglang_router.launch_router --prefill http://p:30000 --decode http://d:30000"
OLD_ROUTER = "python -m sglang.srt.disaggregation.launch_lb --prefill http://p:30000 --decode http://d:30000"
KT = "python ktransformers/server/main.py --model_path /m --gguf_path /m"
MOE = "python benchmarks/kernels/benchmark_moe.py --tp-size 8 --tune"


def node(rank: int, arguments: str) -> Subject:
    return subject("vllm", "0.19.1", f"/m {arguments} --nnodes 2 --node-rank {rank} --master-addr a --headless")


def on(devices: str, arguments: str = "") -> Subject:
    return subject("vllm", "0.19.1", f"/m {arguments}", {"env": {"CUDA_VISIBLE_DEVICES": devices}})


def script(*lines: str, subjects: tuple[Subject, ...] = (), pinned: Mapping[str, str] | None = None) -> Script:
    """A document of these commands, which are its text too."""
    return Script(
        subjects=subjects,
        steps=tuple(Step(words=tuple(shlex.split(line)), place=f"line {n}") for n, line in enumerate(lines, 1)),
        pinned=pinned or {},
        text=tuple((f"line {n}", line) for n, line in enumerate(lines, 1)),
    )


CASES: tuple[tuple[str, Script, Script], ...] = (
    ("huggingface-cli-deprecated", script(DOWNLOAD), script("hf download moonshotai/Kimi-K2.5 --local-dir /m")),
    (
        "huggingface-cli",
        script("pip install vllm==0.19.1", DOWNLOAD),
        script("pip install huggingface_hub==0.30", DOWNLOAD),
    ),
    (
        "huggingface-cli",
        script("pip install sglang==0.5.10.post1", DOWNLOAD),
        script("pip install 'huggingface_hub<0.34'", DOWNLOAD),
    ),
    (
        "huggingface-cli",
        script("pip install vllm==0.19.1 huggingface_hub==1.0.1", DOWNLOAD),
        script("pip install vllm==0.19.1 huggingface_hub==1.0.1", "hf download a/b"),
    ),
    ("engine-command", script("vllm server Qwen/Qwen3-8B --port 8000"), script("vllm chat --url http://h:8000")),
    ("engine-command", script("nohup sglang launch --model-path m --tp 8"), script("docker exec vllm bash --port 1")),
    (
        "engine-module",
        script("python -m sglang.launch_serve --model m"),
        script("python -m sglang.bench_serving --model m"),
    ),
    (
        "engine-module",
        script("pip install vllm==0.33.0", "python -m vllm.entrypoints.api_server --model m"),
        script("pip install vllm==0.19.1", "python -m vllm.entrypoints.api_server --model m"),
    ),
    (
        "huggingface-cli-deprecated",
        script("pip install sglang==0.5.9", DOWNLOAD),
        script("pip install sglang==0.5.9", "hf download a/b"),
    ),
    (
        "huggingface-cli-deprecated",
        script("pip install 'huggingface-hub[cli]<1.0'", DOWNLOAD),
        script("hf download a/b"),
    ),
    (
        "huggingface-hub-extra",
        script("pip install 'huggingface_hub[cli]'"),
        script("pip install vllm==0.19.1 'huggingface_hub[cli]<1.0'"),
    ),
    (
        "huggingface-hub-extra",
        script("pip install -U Huggingface-Hub[cli]==1.0.1"),
        script("pip install sglang==0.5.9 huggingface_hub[cli]"),
    ),
    (
        "hf",
        script("pip install huggingface_hub==0.30.0", "hf download a/b"),
        script("pip install huggingface_hub==0.34.0", "hf download a/b"),
    ),
    (
        "two-sglangs",
        script("pip install sglang sglang-kt"),
        script("pip install sglang", "pip uninstall -y sglang", "pip install sglang-kt"),
    ),
    ("two-transformers", script("pip install sglang-kt transformers"), script("pip install sglang-kt transformers-kt")),
    (
        "package-bounds",
        script("pip install vllm==0.19.1 transformers==5.3.0"),
        script("pip install vllm==0.19.1 transformers==5.5.4"),
    ),
    (
        "package-bounds",
        script("pip install torch==2.9.0", "uv pip install 'vllm==0.19.1'"),
        script("pip install torch==2.10.0", "uv pip install vllm==0.19.1"),
    ),
    (
        "router-installed",
        script("pip install sglang", f"{ROUTER} --pd-disaggregation"),
        script("pip install sglang sglang-router", f"{ROUTER} --pd-disaggregation"),
    ),
    (
        "python-version",
        script("conda create -n e python=3.10 -y", "pip install vllm==0.33.0"),
        script("uv venv --python 3.12", "pip install vllm==0.33.0"),
    ),
    ("router-disaggregation", script(ROUTER), script(f"{ROUTER} --pd-disaggregation")),
    ("load-balancer-module", script(OLD_ROUTER), script("pip install 'sglang[all]==0.4.9.post6'", OLD_ROUTER)),
    ("served-model-name", script(BENCH, subjects=(SERVE,)), script(BENCH, subjects=(NAMED,))),
    ("served-model-name", script(CURL, subjects=(SERVE,)), script(CURL, subjects=(SERVE, NAMED))),
    (
        "served-model-name",
        script(BENCH, subjects=(SERVE,)),
        script(BENCH, subjects=(subject("vllm", "0.19.1", "$MODEL"),)),
    ),
    (
        "served-model-name",
        script(BENCH, subjects=(SERVE,)),
        script(BENCH, subjects=(subject("vllm", "0.19.1", "/m --enable-lora"),)),
    ),
    (
        "served-model-name",
        script("vllm bench serve --model b", subjects=(LORA,)),
        script("vllm bench serve --model a", "vllm bench serve --model c", subjects=(LORA,)),
    ),
    (
        "served-model-name",
        script(BENCH, subjects=(SERVE, OTHER)),
        script("vllm bench serve --model other/Model", BENCH, subjects=(NAMED, OTHER)),
    ),
    (
        "served-model-name",
        script(BENCH, subjects=(subject("vllm", "0.19.1", "/m --served-model-name k"),)),
        script(BENCH, subjects=(subject("vllm", "0.19.1", "moonshotai/Kimi-K2-Instruct"),)),
    ),
    ("bench-extra", script("pip install vllm==0.19.1", BENCH), script("pip install 'vllm[bench]==0.19.1'", BENCH)),
    ("ktransformers-server", script(KT), script("pip install ktransformers==0.3.2", KT)),
    ("moe-benchmark-dtype", script(f"{MOE} --dtype bfloat16"), script(f"{MOE} --dtype fp8_w8a8")),
    (
        "moe-benchmark-int4",
        script(f"{MOE} --model moonshotai/Kimi-K2.5"),
        script(f"{MOE} --model moonshotai/Kimi-K2-Instruct"),
    ),
    (
        "thinking-token-budget",
        script('{"thinking_token_budget": 0}', subjects=(SERVE,)),
        script('{"thinking": false}', subjects=(SERVE,)),
    ),
    (
        "thinking-token-budget",
        script("thinking_token_budget: 0", subjects=(SERVE,)),
        script("thinking_token_budget: 0", subjects=(subject("vllm", "0.19.1", "/m --reasoning-config '{}'"),)),
    ),
    (
        "advised-option",
        script("use --quantization-param-path", subjects=(SERVE,)),
        script("# not --quantization-param-path", subjects=(SERVE,)),
    ),
    (
        "nodes-disagree",
        script(subjects=(node(0, "-tp 16"), node(1, "-tp 8 -pp 2"))),
        script(subjects=(node(0, "-tp 16"), node(1, "-tp 16"))),
    ),
    ("port-taken", script(subjects=(on("0,1"), on("2,3"))), script(subjects=(on("0,1"), on("2,3", "--port 8001")))),
)


@pytest.mark.parametrize(("rule", "wrong", "right"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_refuses_the_wrong_document_alone(rule: str, wrong: Script, right: Script) -> None:
    assert [found.problem.rule for found in script_findings(wrong)] == [rule]
    assert [found.problem.rule for found in script_findings(right)] == []


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in SCRIPT_RULES} == {rule for rule, _, _ in CASES}


def test_a_name_is_added_to_the_server_that_lacks_it() -> None:
    [found] = script_findings(script(BENCH, subjects=(SERVE,)))
    assert found.subjects == (SERVE,)
    assert found.edit is not None
    assert found.edit.add == (("--served-model-name", "moonshotai/Kimi-K2.5"),)
    assert (found.problem.where, found.problem.token) == ("line 1", "--model")


def test_a_name_is_added_to_every_server_of_the_model() -> None:
    again = subject("vllm", "0.19.1", "/models/kimi-k2.5 --trust-remote-code --max-model-len 65536")
    [found] = script_findings(script(BENCH, subjects=(SERVE, OTHER, again)))
    assert [id(one) for one in found.subjects] == [id(SERVE), id(again)]


def test_the_download_is_written_anew() -> None:
    [found] = script_findings(script(DOWNLOAD))
    assert found.problem.fix == "write hf download moonshotai/Kimi-K2.5 --local-dir /m"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "pip install 'vllm[bench,audio]==0.19.1' ray",
            {"vllm": "==0.19.1", "vllm[bench]": "", "vllm[audio]": "", "ray": ""},
        ),
        ("uv pip install -U --torch-backend auto vllm", {"vllm": ""}),
        ("python -m pip install Huggingface_Hub[cli]", {"huggingface-hub": "", "huggingface-hub[cli]": ""}),
        ("conda install -n env -c conda-forge ray", {"ray": ""}),
        ("pip install -r requirements.txt -e . ./a.whl $EXTRA", {}),
        ("pip install 'transformers>=4.56, <5.6'", {"transformers": ">=4.56,<5.6"}),
        ("pip uninstall -y sglang", {}),
        ("pip", {}),
    ],
)
def test_what_a_command_installs(line: str, wanted: dict[str, str]) -> None:
    assert installed([Step(words=tuple(shlex.split(line)), place="line 1")]) == wanted


@pytest.mark.parametrize(
    ("version", "clauses", "fits"),
    [
        ("4.57.1", ">=4.56.0,!=5.0.*", True),
        ("5.0.3", ">=4.56.0,!=5.0.*", False),
        ("5.21.0", ">=5.16.1,<5.21.0", False),
        ("2.10.0", "==2.10.0", True),
        ("2.10", "==2.10.0", True),
        ("2.9.1", "==2.10.0", False),
        ("1.4.9", "~=1.4.2", True),
        ("1.5.0", "~=1.4.2", False),
    ],
)
def test_versions_and_their_bounds(version: str, clauses: str, fits: bool) -> None:
    assert satisfies(version, clauses) is fits
