"""What engines besides vLLM write, and the names that they keep to themselves."""

from dataclasses import replace

import pytest

from infra.deployment import Parallelism, Router
from infra.engines import ENGINES, ktransformers, sglang, torchspec, trtllm
from infra.flags import table
from infra.placement import place
from tests.unit.test_catalogue import read


def line(stack: str, rank: int = 0, *, release: str = "", parallelism: Parallelism | None = None) -> str:
    """The words of one rank of a shipped stack, or of one of another release or parallelism."""
    d = read(stack)
    d = replace(d, release=release or d.release, parallelism=parallelism or d.parallelism)
    return " ".join(map(str, ENGINES[d.engine].command(d, place(d).ranks[rank]).argv))


def test_sglang_over_two_nodes() -> None:
    both = "--served-model-name kimi-k2 --tp-size 16 --dist-init-addr dgx1:50000 --nnodes 2 --node-rank"
    for rank in (0, 1):
        assert f"{both} {rank} --trust-remote-code --tool-call-parser kimi_k2" in line("k2-sglang-tp16", rank)
    assert line("k2-sglang-tp16").startswith(
        "python -m sglang.launch_server --model-path /shared/slipway/models/kimi-k2 --host 127.0.0.1 --port 18000 "
    )


@pytest.mark.parametrize(
    ("release", "parallelism", "words"),
    [
        ("0.5.23", Parallelism(data=16), "--tp-size 16 --attn-dp-size 16 --dist"),
        ("0.5.9", Parallelism(data=16), "--tp-size 16 --dp-size 16 --enable-dp-attention --dist"),
        ("0.5.23", Parallelism(tensor=2, data=8, expert=True), "--tp-size 16 --attn-dp-size 8 --ep-size 16 --dist"),
        ("0.5.23", Parallelism(tensor=8, pipeline=2), "--tp-size 8 --pp-size 2 --dist"),
        ("0.5.23", Parallelism(tensor=16, decode_context=4), "--tp-size 16 --dcp-size 4 --dist"),
    ],
)
def test_sglangs_sizes(release: str, parallelism: Parallelism, words: str) -> None:
    assert words in line("k2-sglang-tp16", release=release, parallelism=parallelism)


def test_a_release_without_decode_context_says_so() -> None:
    d = replace(read("k2-sglang-tp16"), release="0.5.9", parallelism=Parallelism(tensor=16, decode_context=4))
    assert "$.parallelism.decode_context" in [problem.where for problem in ENGINES["sglang"].problems(d)]


def test_a_role_has_its_own_options_and_listens_on_its_node() -> None:
    prefill, decode = line("k2-sglang-pd-4p12d", 0), line("k2-sglang-pd-4p12d", 4)
    assert "--disaggregation-mode prefill --host 198.51.100.21 --port 30000" in prefill
    assert "--disaggregation-mode decode --host 198.51.100.25 --port 30000" in decode
    assert "--deepep-mode normal" in prefill
    assert "--deepep-mode low_latency" in decode
    assert "--tp-size 96 --attn-dp-size 96 --ep-size 96 --dist-init-addr 198.51.100.25:50000 --nnodes 12" in decode
    d = read("k2-sglang-pd-4p12d")
    command = ENGINES["sglang"].command(d, place(d).ranks[4])
    assert command.env["SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK"] == "480"
    assert "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK" not in ENGINES["sglang"].command(d, place(d).ranks[0]).env


def test_the_router_stands_before_the_first_node_of_each_role() -> None:
    d = read("k2-sglang-pd-4p12d")
    command = ENGINES["sglang"].router(d, place(d))
    assert command is not None
    assert command.line() == (
        "python -m sglang_router.launch_router --pd-disaggregation --prefill http://198.51.100.21:30000 8998 "
        "--decode http://198.51.100.25:30000 --host 127.0.0.1 --port 18000 --cb-failure-threshold 3 "
        "--cb-timeout-duration-secs 5 --health-check-interval-secs 2 --health-check-timeout-secs 2 "
        "--health-failure-threshold 2 --health-success-threshold 1 --prometheus-host 127.0.0.1 "
        "--worker-startup-check-interval 1"
    )
    prefill = replace(d.roles[0], args={**d.roles[0].args, "disaggregation-bootstrap-port": 9000})
    other = ENGINES["sglang"].router(replace(d, roles=(prefill, d.roles[1])), place(d))
    assert other is not None
    assert "http://198.51.100.21:30000 9000" in other.line()


def test_experts_on_cpus_lie_beside_the_model_or_in_it() -> None:
    assert "--kt-weight-path /srv/slipway/models/kimi-k2-q4-k-m-gguf --kt-method LLAMAFILE" in line("k2-ktransformers")
    assert "--kt-weight-path /models/models/kimi-k2.5 --kt-method RAWINT4" in line("k25-kt-kernel-ice")


def test_kt_options_without_a_method_are_refused() -> None:
    d = read("k25-kt-kernel-ice")
    args = {name: value for name, value in d.args.items() if name != "kt-method"}
    (problem,) = ENGINES["sglang-kt"].problems(replace(d, args=args))
    assert (problem.where, "AMXINT4" in problem.why) == ("$.engine.args", True)


def test_the_archived_server_as_the_guide_has_it() -> None:
    words = line("k2-ktransformers-legacy-amx")
    assert words.startswith(
        "python ktransformers/server/main.py --model_path /srv/slipway/models/kimi-k2 "
        "--gguf_path /srv/slipway/models/kimi-k2-q4-k-m-gguf --host 127.0.0.1 --port 18000"
    )
    assert words.endswith("/DeepSeek-V3-Chat-fp8-linear-ggml-experts-serve-amx.yaml")


def test_trtllm_under_mpi_and_alone() -> None:
    assert line("k2-trtllm-tp16") == line("k2-trtllm-tp16", 15)
    assert "--tp_size 16 --moe_expert_parallel_size 8 " in line("k2-trtllm-tp16")
    d = read("k2-trtllm-tp16")
    alone = replace(
        d,
        launcher=replace(d.launcher, name="systemd"),
        parallelism=Parallelism(tensor=8, expert=True),
        args={},
        config={},
    )
    (rank,) = place(alone).ranks
    words = " ".join(map(str, ENGINES["trtllm"].command(alone, rank).argv))
    assert words.startswith(
        "trtllm-serve serve /shared/slipway/models/kimi-k2 --host 127.0.0.1 --port 18000 --tp_size 8"
    )
    assert words.endswith("--ep_size 8")
    assert ENGINES["trtllm"].files(alone) == {}
    assert "enable_attention_dp: true" in ENGINES["trtllm"].files(d)["trtllm.yaml"]


def test_clients_call_a_trtllm_model_by_its_folder() -> None:
    assert read("k2-trtllm-tp16").served_name == "kimi-k2"
    assert read("k25-kt-kernel-ice").served_name == "Kimi-K2.5"


def test_the_training_says_what_its_roles_are() -> None:
    words = line("eagle3-3node")
    assert words.startswith("python3 -m torchspec.train_entry --config configs/sglang_kimi_k25_3node.yaml ")
    for setting in (
        "training.training_num_gpus_per_node=8",
        "inference.inference_num_gpus=16",
        "inference.inference_num_gpus_per_engine=16",
        "inference.inference_num_gpus_per_node=8",
        "inference.sglang.tp_size=16",
        "inference.sglang.nnodes=2",
        "dataset.last_turn_loss_only=true",
        "model.target_model_path=/shared/slipway/models/kimi-k2.5",
    ):
        assert f" {setting} " in f"{words} "


@pytest.mark.parametrize(
    ("engine", "reserved"),
    [
        ("sglang", sglang.RESERVED),
        ("sglang-kt", sglang.RESERVED),
        ("trtllm", trtllm.RESERVED),
        ("ktransformers", ktransformers.RESERVED),
    ],
)
def test_what_an_engine_sets_itself_is_refused_in_a_stack_file(engine: str, reserved: dict[str, str]) -> None:
    for release in ENGINES[engine].releases():
        known = [name for name in reserved if f"--{name}" in table.load(engine, release).flags]
        assert len(known) >= 4
        found = {
            problem.where: problem.fix
            for problem in ENGINES[engine].argument_problems(release, dict.fromkeys(known, 1))
        }
        assert found == {f"$.engine.args.{name}": reserved[name] for name in known}


def test_the_router_is_held_against_its_own_table_where_there_is_one() -> None:
    d = read("k2-sglang-pd-4p12d")
    for release in table.releases("sglang-router"):
        router = Router(name="sglang-router", release=release, args={"polcy": "random", "port": 1})
        wheres = [problem.where for problem in ENGINES["sglang"].problems(replace(d, router=router))]
        assert wheres == ["$.router.args.polcy", "$.router.args.port"]


def test_torchspecs_reserved_keys_have_a_fix() -> None:
    problems = list(ENGINES["torchspec"].argument_problems("6dda2bf", dict.fromkeys(torchspec.RESERVED, 1)))
    assert [problem.fix for problem in problems] == list(torchspec.RESERVED.values())
