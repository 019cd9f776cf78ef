"""Every configuration of the documents is a stack that is right; another fleet or launcher is a change of one line."""

import re
import subprocess
from pathlib import Path

import pytest

from hosts import fleet
from hosts.errors import InputError
from hosts.problem import Problem
from hosts.resources.system import Requirement
from hosts.schema import load_yaml
from infra import spec
from infra.deployment import Deployment
from infra.desired import desired
from infra.launchers import LAUNCHERS
from infra.placement import place, rendezvous
from tests.unit.stacks import changed

LOCK, IMAGE, PLAN_ONLY = ("environment", "$.environment"), ("image", "$.image"), ("launcher", "$.launcher.name")
EXPECTED: dict[str, set[tuple[str, str]]] = {
    "dgx-h200": {LOCK},
    "eagle3-3node": {IMAGE},
    "h100-k2-vllm-tp16": {LOCK},
    "h100-k25-sglang-tp16": {LOCK},
    "h100-k25-vllm-dp16-ep": {LOCK},
    "h100-k25-vllm-tp16": {LOCK},
    "h100-k25-vllm-tp8-pp2": {LOCK},
    "k2-ktransformers": {LOCK},
    "k2-ktransformers-amx": {LOCK},
    "k2-ktransformers-legacy": {IMAGE},
    "k2-ktransformers-legacy-amx": {IMAGE},
    "k2-sglang-pd-4p12d": {LOCK},
    "k2-sglang-tp16": {LOCK},
    "k2-trtllm-tp16": {IMAGE},
    "k2-vllm-dp16-ep": {LOCK},
    "k2-vllm-tp16": {LOCK},
    "k2-vllm-tp16-ray": {LOCK},
    "k25-kt-kernel-ice": {IMAGE, PLAN_ONLY},
    "k25-vllm-optimized": {LOCK},
}
"""(rule, place) of each warning of each stack; the lab's environment is locked or not, as its machine has it."""


def read(stack: str, path: str = "", value: object = None) -> Deployment:
    """A shipped stack, with one line of it changed."""
    file = spec.STACKS / f"Pulumi.{stack}.yaml"
    data = changed(path, value, file.read_text()) if path else load_yaml(file)
    return spec.parse(stack, data, str(file))


def refused(stack: str, path: str, value: object) -> tuple[Problem, ...]:
    """The errors of a shipped stack with one line of it changed."""
    with pytest.raises(InputError) as caught:
        read(stack, path, value)
    return tuple(problem for problem in caught.value.problems if problem.level == "error")


def test_every_stack_is_expected() -> None:
    assert {stack for stack in spec.stacks() if not re.fullmatch("lab(-.*)?", stack)} == {*EXPECTED}


@pytest.mark.parametrize("stack", EXPECTED)
def test_a_stack_has_the_warnings_that_are_expected(stack: str) -> None:
    assert {(problem.rule, problem.where) for problem in read(stack).warnings} == EXPECTED[stack]


@pytest.mark.parametrize("stack", EXPECTED)
def test_a_stack_says_which_document_it_comes_from(stack: str) -> None:
    text = (spec.STACKS / f"Pulumi.{stack}.yaml").read_text()
    assert text.startswith(("# Kimi-K2", "# Training"))
    assert stack == "dgx-h200" or ".md" in text.partition("config:")[0]


OTHER_LINE: list[tuple[str, str, object]] = [
    ("dgx-h200", "launcher.name", "systemd"),
    ("k25-vllm-optimized", "launcher.name", "systemd"),
    ("k2-vllm-tp16", "launcher.name", "systemd"),
    ("k2-vllm-tp16-ray", "launcher", {"name": "slurm", "time": "4:00:00"}),
    ("k2-vllm-tp16-ray", "fleet", "dgx-h200-16"),
    ("k2-vllm-dp16-ep", "launcher.name", "systemd"),
    ("k2-sglang-tp16", "launcher.name", "systemd"),
    ("h100-k25-vllm-tp16", "fleet", "dgx-h200"),
    ("k2-trtllm-tp16", "fleet", "dgx-h200-16"),
    ("k2-ktransformers", "launcher.name", "systemd"),
    ("eagle3-3node", "fleet", "dgx-h200-16"),
]


@pytest.mark.parametrize(("stack", "path", "value"), OTHER_LINE)
def test_another_fleet_or_launcher_is_one_line(stack: str, path: str, value: object) -> None:
    d = read(stack, path, value)
    assert {problem.level for problem in d.warnings} <= {"warning"}


PAIRS: list[tuple[str, object, str]] = [
    ("k2-trtllm-tp16", {"name": "slurm", "time": "60"}, "(mpirun, slurm with mpi: pmix)"),
    ("k2-trtllm-tp16", {"name": "ray"}, "the engine does not run on Ray"),
    ("k2-trtllm-tp16", {"name": "systemd"}, "the engine's ranks do not find each other over TCP alone"),
    ("k2-vllm-tp16", {"name": "mpirun"}, "the engine's processes are not ranks of an MPI job"),
    ("k2-vllm-tp16", {"name": "kubernetes"}, "kubernetes starts one node's ranks alone"),
    ("k2-sglang-tp16", {"name": "ray"}, "(slurm, systemd)"),
    ("eagle3-3node", {"name": "systemd"}, "(ray)"),
    ("k2-sglang-pd-4p12d", {"name": "ray"}, "a launcher that brings the engine's ranks together"),
    ("k2-ktransformers-legacy", {"name": "mpirun"}, "the engine's processes are not ranks of an MPI job"),
]


@pytest.mark.parametrize(("stack", "launcher", "says"), PAIRS)
def test_a_pair_that_does_not_fit_says_why(stack: str, launcher: object, says: str) -> None:
    problems = [p for p in refused(stack, "launcher", launcher) if p.where == "$.launcher.name"]
    assert any(says in str(problem) for problem in problems), problems


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_a_launcher_offers_is_how_its_ranks_meet(nodes: int) -> None:
    for name, launcher in LAUNCHERS.items():
        assert rendezvous(name, nodes) in launcher.offers or (name == "kubernetes" and nodes > 1)


REFUSED: list[tuple[str, str, object, str, str]] = [
    ("k2-sglang-pd-4p12d", "roles.prefill.nodes", 3, "$.roles.prefill.nodes", "4 nodes of 8 GPUs"),
    ("k2-sglang-pd-4p12d", "roles.decode.nodes", None, "$.roles.decode.nodes", "a whole number"),
    ("k2-sglang-pd-4p12d", "roles.decode.parallelism", {"data": 104}, "$.roles.decode.nodes", "13 nodes"),
    ("k2-sglang-pd-4p12d", "roles.decode", None, "$.roles", "prefill and decode of sglang"),
    ("k2-sglang-pd-4p12d", "roles.encode", {"nodes": 1}, "$.roles.encode", "did you mean decode?"),
    ("k2-sglang-pd-4p12d", "roles.prefill.args.deepep-mood", "x", "$.roles.prefill.args.deepep-mood", "deepep-mode"),
    ("k2-sglang-pd-4p12d", "roles.prefill.args.dp-size", 2, "$.roles.prefill.args.dp-size", "slipway:parallelism"),
    ("k2-sglang-pd-4p12d", "parallelism", {"tensor": 8}, "$.parallelism", "the parallelism of each role"),
    ("k2-sglang-pd-4p12d", "router", None, "$.router", "clients need one address"),
    ("k2-sglang-pd-4p12d", "port", "30000", "$.port", "prefill and decode listen there"),
    ("k2-sglang-tp16", "router", {"name": "sglang-router", "release": "0.3.2"}, "$.router", "slipway:roles beside it"),
    ("k2-sglang-tp16", "experts", "x", "$.experts", "kt-method"),
    ("k2-ktransformers", "engine.args.kt-method", None, "$.experts", "kt-method"),
    ("k2-ktransformers-legacy", "experts", None, "$.experts", "the GGUF"),
    ("k2-ktransformers-legacy", "parallelism.tensor", 2, "$.parallelism", "cuda:0"),
    ("k2-ktransformers-legacy", "image", "x:latest", "$.image", "an image by digest"),
    ("k2-ktransformers-legacy", "environment", "vllm-0.19.1", "$.environment", "one of them"),
    ("k2-trtllm-tp16", "engine.config.enable_attention_dp", True, "$.engine.config.enable_attention_dp", "set data"),
    ("k2-trtllm-tp16", "launcher.port", 8000, "$.launcher.port", "not slipway:port"),
    ("k2-trtllm-tp16", "parallelism", {"tensor": 2, "data": 8}, "$.parallelism", "tensor: 1 beside data"),
    ("k25-kt-kernel-ice", "launcher.mem", "1200Gi", "$.launcher.mem", "at most 921600, the quota of the namespace aic"),
    ("k25-kt-kernel-ice", "parallelism.tensor", 4, "$.launcher.gpus", "at most 2"),
    ("k25-kt-kernel-ice", "launcher.mem", None, "$.launcher.mem", "a quota of memory or CPUs refuses pods"),
    ("eagle3-3node", "engine.args.dataset.train_data_path", None, "$.engine.args.dataset.train_data_path", "JSONL"),
    ("eagle3-3node", "engine.args.trainng.seed", 1, "$.engine.args.trainng.seed", "did you mean training?"),
    ("eagle3-3node", "engine.args.output_dir", "/x", "$.engine.args.output_dir", "by the stack's name"),
    ("eagle3-3node", "roles.target.parallelism", {"tensor": 8, "pipeline": 2}, "$.roles.target.parallelism", "no pipe"),
    ("dgx-h200", "image", "x@sha256:" + "ab" * 32, "$.environment", "one of them"),
    ("k2-ktransformers-legacy", "launcher", {"name": "slurm", "time": "60"}, "$.image", "mpirun or systemd"),
]


@pytest.mark.parametrize(("stack", "path", "value", "where", "says"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_is_refused(stack: str, path: str, value: object, where: str, says: str) -> None:
    if path.startswith("engine.args."):
        _, _, option = path.partition("args.")
        file = load_yaml(spec.STACKS / f"Pulumi.{stack}.yaml")
        assert isinstance(file, dict)
        args = dict(file["config"]["slipway:engine"]["args"])
        args = {**args, option: value} if value is not None else {k: v for k, v in args.items() if k != option}
        path, value = "engine.args", args
    found = [str(problem) for problem in refused(stack, path, value) if problem.where == where]
    assert any(says in text for text in found), found


def test_roles_take_nodes_one_after_the_other() -> None:
    placed = place(read("k2-sglang-pd-4p12d"))
    assert (placed.nodes, placed.gpus_per_node, placed.gpus) == (16, 8, 128)
    hosts = {role: [rank.host for rank in placed.ranks if rank.role == role] for role in ("prefill", "decode")}
    assert hosts["prefill"] == [f"dgx{n:02}" for n in range(1, 5)]
    assert hosts["decode"] == [f"dgx{n:02}" for n in range(5, 17)]
    assert {rank.head for rank in placed.ranks if rank.role == "decode"} == {"198.51.100.25"}


def test_the_trainer_gets_the_lowest_address() -> None:
    ranks = place(read("eagle3-3node")).ranks
    assert [(rank.role, rank.host) for rank in ranks] == [
        ("trainer", "train1"),
        ("target", "train2"),
        ("target", "train3"),
    ]


def test_an_mpi_job_has_a_rank_a_gpu() -> None:
    placed = place(read("k2-trtllm-tp16"))
    assert (len(placed.ranks), placed.nodes, placed.gpus) == (16, 2, 16)
    assert [(rank.index, rank.host, rank.gpus) for rank in placed.ranks[7:9]] == [
        ("7", "dgx1", (7,)),
        ("8", "dgx2", (0,)),
    ]


def test_keys_of_another_launcher_are_warned_of() -> None:
    (problem,) = (p for p in read("dgx-h200", "launcher.port", 2233).warnings if p.where == "$.launcher")
    assert problem.found == "port"


def test_a_namespace_with_the_documents_quota_is_refused(tmp_path: Path) -> None:
    text = (fleet.INVENTORY / "ice.yaml").read_text()
    (tmp_path / "ice.yaml").write_text(text.replace("memory_mib: 921600", "memory_mib: 512000"))
    file = spec.STACKS / "Pulumi.k25-kt-kernel-ice.yaml"
    with pytest.raises(InputError, match="at most 512000, the quota of the namespace aic"):
        spec.parse("k25-kt-kernel-ice", load_yaml(file), str(file), inventory=tmp_path)


def test_what_a_queue_never_starts_is_refused(tmp_path: Path) -> None:
    text = (fleet.INVENTORY / "dgx-h200.yaml").read_text()
    (tmp_path / "dgx-h200.yaml").write_text(
        f"limits: {{max_time: '12:00:00', gpus: 4, cpus: 64, memory_mib: 1000000}}\n{text}"
    )
    file = spec.STACKS / "Pulumi.dgx-h200.yaml"
    with pytest.raises(InputError) as caught:
        spec.parse("dgx-h200", load_yaml(file), str(file), inventory=tmp_path)
    errors = [p for p in caught.value.problems if p.level == "error"]
    wheres = ["$.launcher.time", "$.launcher.gpus", "$.launcher.cpus", "$.launcher.mem"]
    assert [(p.where, p.rule) for p in errors] == [(where, "limits") for where in wheres]
    assert "1440 minutes, wanted at most 720" in str(errors[0])


CLUSTER, STARTED = ["base", "storage", "munge", "slurm"], ["weights", "launch", "ready"]
BY_SYSTEMD = ["weights", "prepare", "launch", "ready"]
STAGES: list[tuple[str, list[str]]] = [
    ("k2-vllm-tp16-ray", ["claim", *CLUSTER, "containers", "environment", "gateway", *STARTED]),
    ("k2-trtllm-tp16", ["claim", *CLUSTER, "containers", "image", "gateway", *STARTED]),
    ("k2-sglang-pd-4p12d", ["claim", "base", "storage", "containers", "environment", "gateway", *BY_SYSTEMD]),
    ("k2-ktransformers-legacy", ["claim", "base", "storage", "containers", "image", "gateway", *BY_SYSTEMD]),
    ("k25-kt-kernel-ice", ["claim", "launch"]),
    ("k2-vllm-tp16", ["claim", *CLUSTER, "containers", "environment", "gateway", *STARTED]),
]


@pytest.mark.parametrize(("stack", "names"), STAGES)
def test_stages(stack: str, names: list[str]) -> None:
    stages = desired(read(stack), backend="", holder="", digests={})
    assert [stage.name for stage in stages] == names


@pytest.mark.parametrize("stack", [stack for stack, expected in EXPECTED.items() if PLAN_ONLY in expected])
def test_what_starts_nothing_yet_is_refused_before_anything_is_written(stack: str) -> None:
    stages = desired(read(stack), backend="", holder="", digests={})
    for stage in (stages[0], stages[-1]):
        (needed,) = (r for r in stage.hosts["login"] if isinstance(r, Requirement) and r.name == "launcher")
        done = subprocess.run(["bash", "-c", needed.check], capture_output=True, text=True, check=True)
        assert needed.parse(done.stdout) != needed
        assert "starts nothing yet" in done.stdout
