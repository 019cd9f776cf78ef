"""Arguments of a stack file against a release: by name, by value, down to nested keys."""

import pytest

from infra.deployment import Argument
from infra.flags.arguments import problems
from infra.flags.table import load

CASES: list[tuple[tuple[str, str], str, Argument, list[tuple[str, str | None]]]] = [
    (("vllm", "0.19.1"), "max-model-len", "64k", []),
    (("vllm", "0.19.1"), "eplb-config", {"window_size": 1000, "use_async": True}, []),
    (("vllm", "0.19.1"), "eplb-config", {"windw_size": 1000}, [("error", "did you mean window_size?")]),
    (("vllm", "0.19.1"), "eplb-config", {"window_size": "many"}, [("error", None)]),
    (("vllm", "0.19.1"), "lora-modules", ["a=/x", "b=/y"], []),
    (("vllm", "0.19.1"), "allowed-origins", ["*"], []),
    (("vllm", "0.19.1"), "gpu-memory-utilization", 90, [("error", "write 0.9")]),
    (("vllm", "0.19.1"), "enable-eplb", "yes", [("error", None)]),
    (("vllm", "0.19.1"), "no-enable-eplb", True, [("error", "write enable-eplb: false")]),
    (("vllm", "0.19.1"), "eplb-window-size", 5, [("error", "write eplb-config.window_size")]),
    (("vllm", "0.19.1"), "nonsense-of-mine", 5, [("error", None)]),
    (("vllm", "0.33.0"), "disable-cascade-attn", True, [("warning", None)]),
    (("sglang", "0.5.23"), "tp-size", 8, []),
    (("sglang", "0.5.23"), "tensor-parallel-size", 8, []),
    (("sglang", "0.5.23"), "tp", 8, [("error", "write tp-size")]),
    (("sglang", "0.5.23"), "enable-deepep-moe", True, [("error", "write moe-a2a-backend deepep")]),
    (("sglang", "0.5.23"), "cuda-graph-bs-decode", [1, 2, 4], []),
    (("sglang", "0.5.23"), "trust-remote-code", False, []),
    (("trtllm", "1.3.0rc3"), "tp_size", 16, []),
    (("trtllm", "1.3.0rc3"), "tp-size", 16, [("error", "write tp_size")]),
    (("kt-kernel", "0.7.2"), "kt-method", "RAWINT4", []),
]


@pytest.mark.parametrize(("table", "name", "value", "wanted"), CASES)
def test_an_argument(table: tuple[str, str], name: str, value: Argument, wanted: list[tuple[str, str | None]]) -> None:
    found = list(problems(load(*table), {name: value}, {}))
    assert [(one.level, one.fix) for one in found] == wanted
    assert {one.where for one in found} <= {f"$.engine.args.{name}"}
    assert {one.token for one in found} <= {f"--{name}"}


def test_what_slipway_sets_itself() -> None:
    (problem,) = problems(load("vllm", "0.19.1"), {"port": 80}, {"port": "set slipway:port"})
    assert (problem.where, problem.fix) == ("$.engine.args.port", "set slipway:port")


def test_arguments_that_contradict_one_another() -> None:
    args: dict[str, Argument] = {"tp-size": 8, "tensor-parallel-size": 16}
    (problem,) = problems(load("sglang", "0.5.23"), args, {})
    assert (problem.level, problem.where) == ("warning", "$.engine.args.tp-size")
