"""vLLM's command line, and the arguments that the pinned release refuses."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.errors import InputError
from hosts.schema import parse_yaml
from infra import spec
from infra.command import Var
from infra.deployment import Argument, Deployment, Parallelism
from infra.engines.vllm import RESERVED, Vllm
from infra.flags.table import load, render
from infra.placement import place
from tests.unit.stacks import SOFTWARE, STACK, changed, parse, shipped


def argv(d: Deployment, rank: int = 0) -> list[str]:
    return [str(word) for word in Vllm().command(d, place(d).ranks[rank]).argv]


def test_the_baseline_of_the_slurm_document() -> None:
    assert " ".join(argv(shipped("dgx-h200"))) == (
        "vllm serve /shared/slipway/models/kimi-k2.5 --uds $SLIPWAY_RUN/engine.sock "
        "--served-model-name moonshotai/Kimi-K2.5 --tensor-parallel-size 8 --mm-encoder-tp-mode data "
        "--tool-call-parser kimi_k2 --reasoning-parser kimi_k2 --enable-auto-tool-choice --trust-remote-code"
    )


def test_the_key_is_in_no_argument_and_no_variable_of_the_command() -> None:
    d = shipped("lab")
    command = Vllm().command(d.by_hand, place(d).ranks[0])
    assert command.secrets == {"VLLM_API_KEY": "api-key"}
    assert "VLLM_API_KEY" not in command.env
    assert not Vllm().command(d, place(d).ranks[0]).secrets, "behind its gateway it needs none"


def test_two_nodes(tmp_path: Path) -> None:
    d = replace(parse(parse_yaml(STACK), tmp_path), parallelism=Parallelism(tensor=8, pipeline=2, expert=True))
    head, follower = argv(d, 0), argv(d, 1)
    both = ["--distributed-executor-backend", "mp", "--nnodes", "2", "--node-rank"]
    assert "--headless" not in head
    assert "--headless" in follower
    assert "--port" not in follower
    for words, index in ((head, "0"), (follower, "1")):
        at = words.index(both[0])
        assert words[at : at + 8] == [*both, index, "--master-addr", "n1"]
        assert " ".join(words[:at]).endswith(
            "--tensor-parallel-size 8 --pipeline-parallel-size 2 --enable-expert-parallel"
        )
    env = Vllm().command(d, place(d).ranks[1]).env
    assert isinstance(env["VLLM_HOST_IP"], Var)


def test_data_parallel_over_nodes_has_a_head_and_headless_ranks(tmp_path: Path) -> None:
    d = replace(parse(parse_yaml(STACK), tmp_path), parallelism=Parallelism(data=16, expert=True))
    head, follower = argv(d, 0), argv(d, 1)
    for words in (head, follower):
        line = " ".join(words)
        assert "--tensor-parallel-size 1 --data-parallel-size 16 --enable-expert-parallel" in line
        assert "--data-parallel-size-local 8" in line
        assert "--data-parallel-address n1 --data-parallel-rpc-port 29550" in line
        assert "--nnodes" not in words
    assert "--data-parallel-start-rank" not in head
    at = follower.index("--data-parallel-start-rank")
    assert follower[at + 1] == "8"
    assert "--headless" in follower


HYBRID: Mapping[str, Argument] = {"data-parallel-hybrid-lb": True}


def test_with_hybrid_load_balancing_each_node_serves(tmp_path: Path) -> None:
    d = parse(changed("launcher", {"name": "systemd"}, STACK.replace("fleet: ours", "fleet: bare")), tmp_path)
    d = replace(d, parallelism=Parallelism(data=16, expert=True), args=HYBRID)
    head, other = (" ".join(argv(d, n)) for n in (0, 1))
    assert Vllm().servers(d, place(d)) == ("unix:@RUN@/engine.sock", "192.0.2.22:18000")
    for line in (head, other):
        assert "--uds $SLIPWAY_RUN/engine.sock" in line
        assert "--headless" not in line
        assert "--data-parallel-size-local 8" in line
        assert "--data-parallel-address 192.0.2.21 --data-parallel-rpc-port 29550 --data-parallel-hybrid-lb" in line
    assert "--data-parallel-start-rank" not in head
    assert "--data-parallel-start-rank 8" in other
    assert list(Vllm().problems(d)) == []
    by_hand = [argv(d.by_hand, n) for n in (0, 1)]  # without a gateway a person divides requests
    assert all(" ".join(words).count("--host 0.0.0.0 --port 8000") == 1 for words in by_hand)
    for args in ({}, {"data-parallel-hybrid-lb": False}):
        assert Vllm().servers(replace(d, args=args), place(d)) == ("unix:@RUN@/engine.sock",)


NOT_HYBRID = [
    ("slurm", Parallelism(data=16), "a launcher with a gateway on each node", "use the launcher systemd"),
    ("ray", Parallelism(data=16), "on several nodes, not on Ray", "leave the option out"),
    ("systemd", Parallelism(data=8), "on several nodes", "leave the option out"),
    ("systemd", Parallelism(tensor=8, pipeline=2), "data above 1", "leave the option out"),
]


@pytest.mark.parametrize(("launcher", "parallelism", "wanted", "fix"), NOT_HYBRID)
def test_hybrid_load_balancing_needs_replicas_on_nodes_behind_a_gateway(
    launcher: str, parallelism: Parallelism, wanted: str, fix: str, tmp_path: Path
) -> None:
    d = parse(parse_yaml(STACK), tmp_path)
    d = replace(d, parallelism=parallelism, launcher=replace(d.launcher, name=launcher), args=HYBRID)
    (problem,) = Vllm().problems(d)
    assert problem.where == "$.engine.args.data-parallel-hybrid-lb"
    assert wanted in problem.wanted
    assert fix in str(problem.fix)


def test_a_replica_lies_inside_a_node(tmp_path: Path) -> None:
    d = replace(parse(parse_yaml(STACK), tmp_path), parallelism=Parallelism(tensor=2, data=4))
    fleet = replace(
        d.fleet, hosts=tuple(replace(host, gpus=host.gpus and replace(host.gpus, count=5)) for host in d.fleet.hosts)
    )
    assert list(Vllm().problems(d)) == []
    odd = replace(d, fleet=fleet, parallelism=Parallelism(tensor=2, data=5))
    (problem,) = Vllm().problems(odd)
    assert (problem.where, problem.wanted) == ("$.parallelism", "replicas that lie inside one node")


def test_on_ray_there_is_one_command() -> None:
    d = spec.load("k2-vllm-tp16-ray")
    words = argv(d)
    assert words[words.index("--distributed-executor-backend") + 1] == "ray"
    assert "--nnodes" not in words
    wrong = replace(d, args={**d.args, "distributed-executor-backend": "mp"})
    (problem,) = Vllm().problems(wrong)
    assert problem.where == "$.engine.args.distributed-executor-backend"


def test_a_draft_is_named_by_its_folder(tmp_path: Path) -> None:
    d = parse(parse_yaml(STACK), tmp_path)
    drafted = replace(d, draft=d.model, args={"speculative-config": {"method": "eagle3", "num_speculative_tokens": 3}})
    words = argv(drafted)
    given = json.loads(words[words.index("--speculative-config") + 1])
    assert given == {"model": "/shared/models/kimi-k2", "method": "eagle3", "num_speculative_tokens": 3}
    assert [p.where for p in Vllm().problems(replace(drafted, args={}))] == ["$.draft"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("enforce-eager", True, ["--enforce-eager"]),
        ("enforce-eager", False, ["--no-enforce-eager"]),
        ("aggregate-engine-logging", True, ["--aggregate-engine-logging"]),
        ("aggregate-engine-logging", False, []),
        ("max-model-len", 65536, ["--max-model-len", "65536"]),
        ("max-model-len", "64k", ["--max-model-len", "64k"]),
        ("max-model-len", -1, ["--max-model-len=-1"]),
        ("gpu-memory-utilization", 0.92, ["--gpu-memory-utilization", "0.92"]),
        ("eplb-config", {"window_size": 1000}, ["--eplb-config", '{"window_size": 1000}']),
        ("speculative-config", '{"method": "eagle3"}', ["--speculative-config", '{"method": "eagle3"}']),
        ("served-model-name", ["a", "b c"], ["--served-model-name", "a", "b c"]),
        ("middleware", ["a", "b"], ["--middleware", "a", "--middleware", "b"]),
    ],
)
def test_how_a_value_is_written(name: str, value: Argument, words: list[str]) -> None:
    table = load("vllm", "0.19.1")
    assert list(table.problems({name: value}, RESERVED)) == []
    assert list(render(table.flags[f"--{name}"], name, value)) == words


REFUSED: list[tuple[str, Argument, str]] = [
    ("swap-space", 32, "the last release read that has it is 0.17.1, 0.18.0 has not"),
    ("swap-space", 32, "kv-offloading-size GIB kv-offloading-backend native"),
    ("skip-non-local-expert-weights", True, "no release that was read has it"),
    ("skip-non-local-expert-weights", True, "enable-ep-weight-filter"),
    ("numa-bind", True, "it came after this release; 0.20.0 has it"),
    ("max-model-length", 4096, "did you mean max-model-len?"),
    ("max_model_len", 4096, "did you mean max-model-len?"),
    ("speculative-config.method", "eagle3", "an option of vllm 0.19.1"),
    ("no-enforce-eager", True, "write enforce-eager: false"),
    ("tp", 8, "write tensor-parallel-size"),
    ("api-key", "sk-1", "stands in no argv"),
    ("port", 8000, "set slipway:port"),
    ("tensor-parallel-size", 8, "set it in slipway:parallelism"),
    ("enforce-eager", "yes", "true or false"),
    ("max-num-seqs", "many", "a whole number"),
    ("max-num-seqs", True, "not true or false"),
    ("gpu-memory-utilization", "90%", "a number"),
    ("max-num-seqs", [1, 2], "one value"),
    ("dtype", {"a": 1}, "not a mapping"),
    ("kv-cache-dtype", "fp4", "one of auto, bfloat16"),
    ("mm-encoder-tp-mode", "dat", "did you mean data?"),
    ("tool-call-parser", "kimi-k2", "did you mean kimi_k2?"),
]


@pytest.mark.parametrize(("name", "value", "says"), REFUSED)
def test_what_the_release_refuses(name: str, value: Argument, says: str, tmp_path: Path) -> None:
    data = changed("engine.args", {name: value})
    with pytest.raises(InputError) as caught:
        parse(data, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.where, problem.token) == (f"$.engine.args.{name}", f"--{name}")
    assert says in str(problem)
    assert problem.source


def test_a_plugins_parser_is_not_held_against_the_list() -> None:
    args: dict[str, Argument] = {"tool-parser-plugin": "/x.py", "tool-call-parser": "mine"}
    assert list(Vllm().argument_problems("0.19.1", args)) == []


def test_every_reserved_option_exists_or_is_an_option_of_the_table() -> None:
    assert {f"--{name}" for name in RESERVED} <= {*load("vllm", "0.19.1").flags, "--model"}


def test_the_environment_must_hold_the_release(tmp_path: Path) -> None:
    d = parse(parse_yaml(STACK), tmp_path)
    other = replace(SOFTWARE, requirements="vllm==0.18.1+cpu --hash=sha256:00\n")
    (problem,) = Vllm().problems(replace(d, software=other))
    assert problem.where == "$.engine.release"
    assert str(problem.fix).startswith("set the release to 0.18.1, or name vllm-0.19.1")
    (problem,) = Vllm().problems(replace(d, software=replace(SOFTWARE, requirements="torch==2.10.0\n")))
    assert problem.where == "$.environment"
    local = replace(SOFTWARE, requirements="vllm==0.19.1+cpu --hash=sha256:00\n")
    stand_in = replace(d, software=local, fleet=replace(d.fleet, stand_in=True))
    assert list(Vllm().problems(stand_in)) == []
    (problem,) = Vllm().problems(replace(stand_in, fleet=d.fleet))
    assert problem.wanted == "a build of vllm 0.19.1 for GPUs"
