"""An engine's command is found behind every launcher, and nothing else is taken for one."""

import pytest

from infra.lint.read import read

FOUND: list[tuple[str, str]] = [
    ("vllm serve m", "vllm serve"),
    ("/opt/env/bin/vllm serve m", "vllm serve"),
    ("python -m vllm.entrypoints.openai.api_server --model m", "vllm.entrypoints.openai.api_server"),
    ("python3 -u -m vllm.entrypoints.openai.api_server --model m", "vllm.entrypoints.openai.api_server"),
    ("vllm bench serve --model m", "vllm bench serve"),
    ("python -m sglang.launch_server --model-path m", "sglang.launch_server"),
    ("sglang serve --model-path m", "sglang serve"),
    ("python -m sglang_router.launch_router --pd-disaggregation", "sglang_router.launch_router"),
    ("python3 -m sglang.srt.disaggregation.mini_lb --prefill x", "sglang.srt.disaggregation.mini_lb"),
    ("trtllm-serve m --tp_size 8", "trtllm-serve"),
    ("trtllm-serve serve m --tp_size 8", "trtllm-serve"),
    ("mpirun -np 2 -x A=1 trtllm-llmapi-launch trtllm-serve m", "trtllm-serve"),
    ("kt run kimi --dry-run", "kt run"),
    ("python ktransformers/server/main.py --model_path m", "ktransformers/server/main.py"),
    ("python benchmarks/kernels/benchmark_moe.py --model m", "benchmark_moe.py"),
    ("srun -N 2 --ntasks-per-node=1 vllm serve m", "vllm serve"),
    ("srun bash -c 'cd /x && vllm serve m'", "vllm serve"),
    ("ssh node1 'nohup vllm serve m > log 2>&1 &'", "vllm serve"),
    ("sh -c 'python3 -m vllm.entrypoints.openai.api_server --model m'", "vllm.entrypoints.openai.api_server"),
    ("ssh node1 'docker run vllm/vllm-openai:latest --model m'", "vllm image"),
    ("ssh -p 22 node1 vllm serve m", "vllm serve"),
    ("sbatch -N1 --wrap='vllm serve m'", "vllm serve"),
    ("env A=1 nohup numactl --membind=0 taskset -c 0-3 timeout 60 vllm serve m", "vllm serve"),
    ("sudo -E vllm serve m", "vllm serve"),
    ("time vllm serve m", "vllm serve"),
    ("nsys profile -o x vllm serve m", "vllm serve"),
    ("uv run --with vllm==0.19.1 vllm serve m", "vllm serve"),
    ("conda run -n env --no-capture-output vllm serve m", "vllm serve"),
    ("ray job submit --address x -- python -m sglang.launch_server --model-path m", "sglang.launch_server"),
    ("torchrun --nproc-per-node 8 -m sglang.launch_server --model-path m", "sglang.launch_server"),
    ("docker run --rm --gpus all vllm/vllm-openai:v0.19.1 --model m", "vllm image"),
    ("docker run --gpus all -e A=b -p 80:80 -it registry.example/x/vllm-openai m --a", "vllm image"),
    ("docker run --gpus all --entrypoint vllm vllm/vllm-openai serve m", "vllm serve"),
    ("podman run lmsysorg/sglang:v0.5.9 python3 -m sglang.launch_server --model-path m", "sglang.launch_server"),
    ("docker exec -it box bash -lc 'trtllm-serve m'", "trtllm-serve"),
    ("apptainer exec --nv x.sif vllm serve m", "vllm serve"),
    ("kubectl exec -it pod -n x -- vllm serve m", "vllm serve"),
    ("tmux new -d -s v 'vllm serve m'", "vllm serve"),
    ("huggingface-cli download m --local-dir x", "huggingface-cli download"),
    ("hf download m", "hf download"),
    ("ExecStart=/usr/bin/vllm serve m --a %i", "vllm serve"),
    ('args: ["vllm", "serve", "m", "--a"]', "vllm serve"),
    ('["vllm", "serve", "m", "--a"]', "vllm serve"),
    ("- vllm serve m --a", "vllm serve"),
    ("`vllm serve m --a`", "vllm serve"),
    ("$ vllm serve m\nINFO vllm serve x is up", "vllm serve"),
    ("user@node:~$ vllm serve m", "vllm serve"),
]


@pytest.mark.parametrize(("text", "program"), FOUND, ids=[text for text, _ in FOUND])
def test_found(text: str, program: str) -> None:
    assert [launch.found.program for launch in read(text, "-").launches] == [program]


NOT_COMMANDS = [
    "echo vllm serve m --a 1",
    'echo "run: vllm serve m"',
    "printf 'vllm serve %s' m",
    'pkill -f "vllm serve"',
    "grep -r 'vllm serve' .",
    "pip install vllm sglang",
    "which vllm serve",
    "# vllm serve m",
    "vllm serve is how a server is started",
    "vllm serve can take options",
    "usage: vllm serve [-h] [--host HOST]",
    "vllm serve --help",
    "vllm serve --help=ModelConfig",
    "vllm --version",
    "vllm bench throughput --model m",
    "trtllm-serve disaggregated -c x.yaml",
    "sglang generate x",
    "kt doctor",
    "hf auth login",
    "python -m sglang.bench_serving --backend sglang",
    "docker run vllm/vllm-openai",
    "docker pull vllm/vllm-openai:v0.19.1",
    "cat > run.txt <<EOF\nvllm serve m\nEOF",
]


@pytest.mark.parametrize("text", NOT_COMMANDS)
def test_no_command(text: str) -> None:
    assert [launch.found.words for launch in read(text, "-").launches] == []


def test_what_stands_before() -> None:
    directives = "#SBATCH --nodes=2 # two\n#SBATCH -n 4\n#SBATCH --gres=gpu:h200:8\n"
    text = f"#!/bin/bash\n{directives}srun -N2 docker run -e A=1 --gpus all vllm/vllm-openai:v0.19.1 m\n"
    launch = read(text, "job.sbatch").launches[0]
    assert launch.around.directives == {"nodes": "2", "ntasks": "4", "gres": "gpu:h200:8"}
    assert launch.around.prefix[:4] == ("srun", "-N2", "docker", "run")
    assert (launch.around.image, launch.env) == ("vllm/vllm-openai:v0.19.1", {"A": "1"})


PINS: list[tuple[str, list[tuple[str, str, str]]]] = [
    ("pip install vllm==0.19.1", [("vllm", "==", "0.19.1")]),
    ('pip install "vllm[bench]==0.19.1.post1"', [("vllm", "==", "0.19.1.post1")]),
    ("uv pip install 'sglang[all]>=0.5.9'", [("sglang", ">=", "0.5.9")]),
    ("vllm>=0.19,<0.20", [("vllm", ">=", "0.19")]),
    ("  - vllm=0.10.0", [("vllm", "==", "0.10.0")]),
    ("sglang-kt==0.7.2\nkt_kernel == 0.7.2", [("sglang-kt", "==", "0.7.2"), ("kt-kernel", "==", "0.7.2")]),
    ("image: vllm/vllm-openai:v0.19.1", [("vllm", "==", "0.19.1")]),
    ("FROM lmsysorg/sglang:v0.5.9-cu129-amd64", [("sglang", "==", "0.5.9")]),
    ("nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc3", [("tensorrt-llm", "==", "1.3.0rc3")]),
    ("vllm-0.19.1+cu129-cp38-abi3-manylinux_2_31_x86_64.whl", [("vllm", "==", "0.19.1")]),
    ("git clone -b v0.5.9 https://github.com/sgl-project/sglang", [("sglang", "==", "0.5.9")]),
    ("module load vllm/0.19.1", [("vllm", "==", "0.19.1")]),
    ("vLLM 0.19.1 was used", []),
    ("vllm = 0.19.1 of many", []),
    ("docker pull vllm/vllm-openai:latest", []),
    ("V=0.19.1\npip install vllm==$V", [("vllm", "==", "0.19.1")]),
]


@pytest.mark.parametrize(("text", "expected"), PINS, ids=[text for text, _ in PINS])
def test_pins(text: str, expected: list[tuple[str, str, str]]) -> None:
    found = {(pin.package, pin.operator, pin.release): None for pin in read(text, "-").pins}
    assert list(found) == expected
