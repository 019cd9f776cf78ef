"""A launch line becomes a stack file whose command has the same options, and says what it could not take over."""

from pathlib import Path

import pytest

from hosts.errors import InputError
from hosts.schema import parse_yaml
from infra import spec
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.lint.adopt import adopt
from infra.lint.lint import lint
from infra.placement import place

HERE = Path(__file__).parent / "documents"


def adopted(text: str, engine: str | None = None, release: str | None = None) -> tuple[str, Deployment]:
    file = adopt(lint(text, "run.sh", engine, release), "mine")
    return file, spec.parse("mine", parse_yaml(file), "Pulumi.mine.yaml")


def rendered(d: Deployment) -> str:
    return ENGINES[d.engine].command(d.by_hand, place(d).ranks[0]).line()


VLLM = "vllm serve moonshotai/Kimi-K2.5 --served-model-name kimi --trust-remote-code"
SGLANG = "python -m sglang.launch_server --model-path moonshotai/Kimi-K2-Instruct --served-model-name kimi"
SAME: list[tuple[str, str, list[str]]] = [
    (
        f"{VLLM} -tp 8 --port 9000 --host 0.0.0.0",
        "0.19.1",
        ["--tensor-parallel-size 8", "--port 9000", "--host 0.0.0.0"],
    ),
    (f"{VLLM} --tensor_parallel_size=8 --max-model-len 65536", "0.19.1", ["--max-model-len 65536"]),
    (
        f"{VLLM} -tp 8 -pp 2 --nnodes 2 --node-rank 0 --master-addr $A --no-async-scheduling",
        "0.19.1",
        ["--pipeline-parallel-size 2", "--nnodes 2 --node-rank 0", "--no-async-scheduling"],
    ),
    (
        f"{VLLM} -dp 16 --enable-expert-parallel --data-parallel-size-local 8 --data-parallel-address $A",
        "0.19.1",
        ["--data-parallel-size 16", "--enable-expert-parallel", "--data-parallel-size-local 8"],
    ),
    (
        f"""{VLLM} -tp 8 --speculative-config '{{"model": "/d", "method": "eagle3", "num_speculative_tokens": 3}}'""",
        "0.19.1",
        ["""--speculative-config '{"model": "/d", "method": "eagle3", "num_speculative_tokens": 3}'"""],
    ),
    (f"{VLLM} -tp 8 --swap-space 32 --max-num-seqs 64", "0.19.1", ["--max-num-seqs 64"]),
    (f"export VLLM_LOGGING_LEVEL=DEBUG\n{VLLM} -tp 8", "0.19.1", ["VLLM_LOGGING_LEVEL=DEBUG"]),
    (
        f"{SGLANG} --tp 16 --nnodes 2 --node-rank 0 --dist-init-addr $A:50000 --mem-fraction-static 0.85",
        "0.5.23",
        ["--tp-size 16", "--nnodes 2", "--mem-fraction-static 0.85", "--port 30000"],
    ),
    (f"{SGLANG} --tp 16 --attn-dp-size 16 --port 8000", "0.5.23", ["--tp-size 16 --attn-dp-size 16", "--port 8000"]),
    (f"{SGLANG} --tp 16 --dp-size 16 --enable-dp-attention", "0.5.9", ["--dp-size 16 --enable-dp-attention"]),
]


@pytest.mark.parametrize(("text", "release", "options"), SAME, ids=[text for text, _, _ in SAME])
def test_the_same_options(text: str, release: str, options: list[str]) -> None:
    file, d = adopted(text, release=release)
    line = rendered(d)
    assert "--served-model-name kimi" in line
    assert [option for option in options if option not in line] == []
    assert "not right yet" not in file
    assert "swap-space" not in line


def test_tensorrt_llm_with_its_yaml() -> None:
    text = (HERE / "kimi-k2-guide.md").read_text(encoding="utf-8").replace("padding_enabled", "enable_padding")
    file = adopt(lint(text, "guide.md", "trtllm", "1.3.0rc3"), "mine")
    d = spec.parse("mine", parse_yaml(file), "Pulumi.mine.yaml")
    assert (d.launcher.name, d.parallelism.data, d.parallelism.tensor) == ("mpirun", 16, 1)
    assert d.config["print_iter_log"] is True
    line = rendered(d)
    assert "--tp_size 16" in line
    assert "--max_num_tokens 4096" in line


def test_ray_is_a_launcher() -> None:
    _, d = adopted(f"{VLLM} -tp 16 --distributed-executor-backend ray", release="0.19.1")
    assert d.launcher.name == "ray"


NOTES: list[tuple[str, str]] = [
    (f"{VLLM} -tp 8 --port $PORT", "--port $PORT: no port from 1024 to 65535 that is known"),
    (f"{VLLM} -tp $TP", "-tp $TP: known only at run time"),
    (f"{VLLM} -tp 8 --max-num-seqs $N", "--max-num-seqs $N: its value is known only at run time"),
    (f"{VLLM} -tp 8 --api-key sesame", "--api-key: leave it out"),
    (f"{VLLM} -tp 8 --host 10.0.0.1", "--host 10.0.0.1: leave it out"),
    ("vllm serve $MODEL -tp 8", "$MODEL: not known to be a model of infra/models"),
    ("vllm serve moonshotai/Kimi-K2.5 -tp 8", "no --served-model-name"),
    (f"{VLLM} -tp 8\ntrtllm-serve m", "line 2 starts another server (trtllm)"),
    (f"#SBATCH --partition=x\n{VLLM} -tp 8", "--partition=x: the fleet's own is taken"),
]


@pytest.mark.parametrize(("text", "note"), NOTES, ids=[note for _, note in NOTES])
def test_what_is_not_taken_over_is_said(text: str, note: str) -> None:
    file = adopt(lint(text, "run.sh", None, "0.19.1"), "mine")
    assert note in file
    assert "sesame" not in file


ASKED: list[tuple[str, dict[str, object], list[str]]] = [
    ("--time=02:00:00", {"time": "02:00:00"}, []),
    ("--time=soon", {"time": "24:00:00"}, []),
    ("--account=ehpc-7 --qos=big", {"account": "ehpc-7", "qos": "big"}, []),
    ("--constraint=h200&ib --mem=1800G", {"constraint": "h200&ib", "mem": "1800G"}, []),
    ("-c 112 --mem 0", {"cpus": 112, "mem": "0"}, []),
    ("--ntasks-per-node=1 --cpus-per-task=112", {"cpus": 112}, []),
    ("--ntasks-per-node=8 --cpus-per-task=14", {"cpus": 0}, ["--cpus-per-task=14: of each of several tasks"]),
    ("--account=$ACCOUNT", {"account": ""}, ["--account=$ACCOUNT: not known to be one; set account below"]),
    ("--account= --qos=", {"account": "", "qos": ""}, []),
    ("--mem=lots", {"mem": ""}, ["--mem=lots: not known to be one; set mem below"]),
    ("--partition=x -w n[1-2]", {"partition": "gpu", "nodelist": ()}, ["--partition=x: the", "--nodelist=n[1-2]: the"]),
    ("--exclusive --mem=64G", {"mem": "64G"}, ["#SBATCH --exclusive: a stack file has no place for it"]),
    ("--reservation=maint", {}, ["--reservation=maint: a stack file has no place for it"]),
    ("--nodes=1 --gpus-per-node=8 --job-name=x --output=x.log", {}, []),
]


@pytest.mark.parametrize(("line", "launcher", "notes"), ASKED, ids=[line for line, _, _ in ASKED])
def test_what_the_script_asks_of_slurm(line: str, launcher: dict[str, object], notes: list[str]) -> None:
    file, d = adopted(f"#SBATCH {line}\n{VLLM} -tp 8", release="0.19.1")
    assert {key: getattr(d.launcher, key) for key in launcher} == launcher
    said = [row for row in file.splitlines() if "#SBATCH" in row]
    assert len(said) == len(notes)
    assert all(any(note in row for row in said) for note in notes)


def test_another_launcher_asks_the_same_of_slurm() -> None:
    """A SLURM job owns its processes as well."""
    asked = "#SBATCH --mem=64G\n#SBATCH --time=2:00:00\n#SBATCH -c 64"
    file, d = adopted(f"{asked}\n{VLLM} -tp 16 --distributed-executor-backend ray", release="0.19.1")
    it = d.launcher
    assert (it.name, it.mem, it.time, it.cpus) == ("ray", "64G", "2:00:00", 64)
    assert "#SBATCH" not in file


def test_other_ranks_are_of_the_same_deployment() -> None:
    file, _ = adopted(f"{VLLM} -tp 16 --nnodes 2 --node-rank 0\n{VLLM} -tp 16 --nnodes 2 --node-rank 1 --headless\n")
    assert "another server" not in file


@pytest.mark.parametrize("text", ["hf download m", "vllm bench serve --model m", "echo", "kt run m"])
def test_without_a_server_there_is_no_stack(text: str) -> None:
    with pytest.raises(InputError, match="starts no server"):
        adopted(text)
