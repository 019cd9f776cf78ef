"""A stack is proven before anything runs: the rendered command, the rules and the ledger, each with its `$.path`."""

from dataclasses import replace
from pathlib import Path

import pytest

from hosts import fleet
from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import load_yaml
from infra import spec
from infra.asked import host_memory_gib
from infra.engines import ENGINES
from infra.flags import table as flag_table
from infra.flags.finding import Edit, Finding
from infra.places import Part
from infra.proof import prove
from tests.unit.test_catalogue import EXPECTED, read, refused

REFUSED: list[tuple[str, str, object, str, str]] = [
    ("dgx-h200", "engine.args.enable-eplb", True, "$.engine.args.enable-eplb", ""),
    ("dgx-h200", "engine.args.max-model-len", 1000000, "$.engine.args.max-model-len", ""),
    ("dgx-h200", "parallelism.tensor", 4, "$.fleet", "GiB a GPU"),
    ("dgx-h200", "fleet", "h100-80", "$.fleet", "would not start"),
    ("dgx-h200", "model", "kimi-k2", "$.", ""),
    ("k2-vllm-dp16-ep", "fleet", "h100-80", "$.fleet", "GiB a GPU are missing"),
    ("k2-vllm-tp16", "fleet", "h100-80", "$.engine.args", "one sequence of 131072 tokens"),
    ("k25-kt-kernel-ice", "launcher.mem", "480Gi", "$.launcher.mem", "at least 6"),
    ("k25-kt-kernel-ice", "engine.args.kt-method", "AMXINT4", "$.engine.args.kt-method", "AMX"),
    ("k2-sglang-pd-4p12d", "roles.decode.args.ep-num-redundant-experts", 95, "$.roles.decode", ""),
    ("eagle3-3node", "roles.target", {"nodes": 1, "parallelism": {"tensor": 8}}, "$.", "GiB a GPU"),
]


@pytest.mark.parametrize(("stack", "path", "value", "where", "says"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_can_not_work_is_refused(stack: str, path: str, value: object, where: str, says: str) -> None:
    found = refused(stack, path, value)
    assert any(problem.where.startswith(where) and says in str(problem) for problem in found), [str(p) for p in found]
    assert all(problem.source for problem in found)


WEIGHTS: list[tuple[str, str, float]] = [
    ("dgx-h200", "", 71.9),
    ("k2-vllm-tp16", "", 61.1),
    ("k2-vllm-tp16-ray", "", 61.1),
    ("k2-sglang-tp16", "", 61.1),
    ("k2-vllm-dp16-ep", "", 73.3),
    ("h100-k25-vllm-tp16", "", 37.4),
    ("h100-k25-vllm-tp8-pp2", "", 36.5),
    ("h100-k25-vllm-dp16-ep", "", 56.9),
    ("h100-k2-vllm-tp16", "", 61.1),
    ("eagle3-3node", "target", 37.4),
]
"""GiB of weights a GPU, from the tables of reference/engines.md 4.4."""


@pytest.mark.parametrize(("stack", "role", "weights_gib"), WEIGHTS)
def test_the_ledger_is_that_of_the_plan(stack: str, role: str, weights_gib: float) -> None:
    assert prove(read(stack)).fits[role].gpu.weights_gib == pytest.approx(weights_gib, rel=0.01)


@pytest.mark.parametrize("stack", EXPECTED)
def test_each_part_that_serves_has_a_ledger_that_fits(stack: str) -> None:
    d = read(stack)
    proof = prove(d)
    wanted = {
        "eagle3-3node": {"target"},
        "k2-sglang-pd-4p12d": {"prefill", "decode"},
        "k2-ktransformers-legacy": set(),
        "k2-ktransformers-legacy-amx": set(),
    }.get(stack, {""})
    assert set(proof.fits) == wanted
    assert all(found.fits for found in proof.fits.values())
    assert not [problem for problem in proof.problems if problem.level == "error"]


def test_an_option_that_slipway_sets_and_the_release_lacks_names_where_it_comes_from() -> None:
    d = replace(read("k2-vllm-tp16"), release="0.10.0")
    wheres = {
        problem.where for problem in prove(d).problems if problem.level == "error" and problem.token == "--nnodes"
    }
    assert wheres == {"$.launcher"}


def test_what_runs_and_is_slower_is_a_warning() -> None:
    d = read("k2-ktransformers", "engine.args.kt-threadpool-count", 4)
    (found,) = (problem for problem in d.warnings if problem.where == "$.engine.args.kt-threadpool-count")
    assert (found.level, found.token) == ("warning", "--kt-threadpool-count")


@pytest.mark.parametrize(
    ("path", "value", "cheapest"),
    [
        ("parallelism.tensor", 4, "parallelism.tensor: 8"),
        ("engine.args.max-model-len", 1048576, "engine.args.max-model-len: 262144"),
    ],
)
def test_what_is_there_is_suggested_first(path: str, value: object, cheapest: str) -> None:
    """Idle GPUs of the declared node, as `invoke fit` says; no context that the model does not have."""
    found = refused("dgx-h200", path, value)
    fixes = [problem.fix for problem in found if problem.rule == "gpu-memory"]
    assert [str(fix).startswith(cheapest) for fix in fixes] == [True]


@pytest.mark.parametrize(("mem", "gib"), [("", 1953.125), ("1800G", 1800.0), ("3000G", 1953.125)])
def test_memory_that_was_asked_for_is_not_there_because_of_that(mem: str, gib: float) -> None:
    d = read("dgx-h200")
    d = replace(d, launcher=replace(d.launcher, mem=mem))
    assert host_memory_gib(d, d.fleet.nodes) == gib


def test_stand_ins_have_no_ledger() -> None:
    assert prove(spec.load("lab")).fits == {}


def test_amx_is_refused_on_machines_without_it(tmp_path: Path) -> None:
    text = (fleet.INVENTORY / "kt-server.yaml").read_text()
    (tmp_path / "kt-server.yaml").write_text(text.replace(", amx_tile, amx_int8, amx_bf16", ""))
    file = spec.STACKS / "Pulumi.k2-ktransformers-amx.yaml"
    with pytest.raises(InputError) as caught:
        spec.parse("k2-ktransformers-amx", load_yaml(file), str(file), inventory=tmp_path)
    assert "$.engine.args.kt-method" in {p.where for p in caught.value.problems if p.level == "error"}


def test_variables_and_keys_of_the_yaml_name_where_they_stand() -> None:
    d = replace(read("dgx-h200"), env={"VLLM_USE_DEEP_GEM": "1"})
    (found,) = (problem for problem in prove(d).problems if problem.rule == "environment-variable")
    assert (found.level, found.where) == ("warning", "$.engine.env.VLLM_USE_DEEP_GEM")
    d = replace(read("k2-trtllm-tp16"), config={"cuda_graph_config": {"padding_enabled": True}})
    wheres = {problem.where for problem in prove(d).problems if problem.rule == "trtllm-yaml"}
    assert wheres == {"$.engine.config.cuda_graph_config.padding_enabled"}


FIXES: list[tuple[str, str, tuple[tuple[str, ...], ...], str, str]] = [
    ("dgx-h200", "", (("--trust-remote-code",),), "add --trust-remote-code", "add engine.args.trust-remote-code: true"),
    ("dgx-h200", "", (), "leave out --enable-eplb", "leave out engine.args.enable-eplb"),
    ("dgx-h200", "", (("--block-size", "64"),), "write --block-size 64", "write engine.args.block-size: 64"),
    ("dgx-h200", "", (), "write --block-size 64, or leave it out", "write engine.args.block-size: 64, or leave it out"),
    ("dgx-h200", "", (("-tp", "4"),), "write -tp 4", "write parallelism.tensor: 4"),
    ("dgx-h200", "", (("--no-enable-eplb",),), "write --no-enable-eplb", "write engine.args.enable-eplb: false"),
    (
        "dgx-h200",
        "",
        (("--enable-expert-parallel",),),
        "add --enable-expert-parallel, or leave EPLB out",
        "add parallelism.expert: true, or leave EPLB out",
    ),
    ("dgx-h200", "", (("--port", "9000"),), "add --port 9000", "add port: 9000"),
    ("dgx-h200", "", (), "add --served-model-name", "add engine.args.served-model-name"),
    ("dgx-h200", "", (), "run pip with --no-deps", "run pip with --no-deps"),
    ("k2-sglang-tp16", "", (), "add --ep-size 16", "add parallelism.expert: true"),
    ("k2-sglang-tp16", "", (("--enable-dp-attention",),), "add --enable-dp-attention", "add parallelism.data"),
    (
        "k2-sglang-pd-4p12d",
        "decode",
        (("--moe-a2a-backend", "deepep"),),
        "add --moe-a2a-backend deepep",
        "add engine.args.moe-a2a-backend: deepep",
    ),
    ("k2-sglang-pd-4p12d", "prefill", (), "write --tp-size 8", "write roles.prefill.parallelism.tensor: 8"),
    ("eagle3-3node", "target", (), "add --mem-fraction-static 1", "add --mem-fraction-static 1"),
]


@pytest.mark.parametrize(("stack", "role", "add", "fix", "told"), FIXES, ids=[row[3] for row in FIXES])
def test_a_fix_is_in_the_words_of_the_stack_file(
    stack: str, role: str, add: tuple[tuple[str, ...], ...], fix: str, told: str
) -> None:
    d = read(stack)
    part = d.part(role)
    within = ENGINES[d.engine].within(part)
    it = Part(whole=d, deployment=within.deployment if within else part, role=role, inside=within is not None)
    problem = Problem(where="$", found="a", wanted="b", fix=fix)
    table = flag_table.load(it.deployment.engine, it.deployment.release)
    assert it.told(Finding(problem=problem, edit=Edit(add=add)), table).fix == told


def test_a_missing_option_of_the_plan_is_a_line_of_the_stack_file() -> None:
    (problem,) = (it for it in refused("dgx-h200", "engine.args.trust-remote-code", None) if it.level == "error")
    assert problem.fix == "add engine.args.trust-remote-code: true"
