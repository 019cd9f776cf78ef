"""`invoke plan`, `lint` and `fit` as cold processes, against what a user has instead: the engine's own parser.

python -m bench.plan [--rounds 7]       (with the lab's environment there, vLLM's parser is asked as well)
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.table import Row, report, spread, timed
from lab import paths
from tools.places import ROOT

INVOKE = str(Path(sys.executable).parent / "invoke")
LINES = 200
COMMAND = """srun vllm serve $MODEL --served-model-name k2 --tensor-parallel-size 8 --max-model-len {length} \\
  --gpu-memory-utilization 0.9 --enable-expert-parallel --swap-space 32 --tool-call-parser kimi_k2 \\
  --enable-auto-tool-choice --trust-remote-code >>log-{n} 2>&1 &
"""


def script() -> str:
    """An sbatch script of 200 lines, as they grow: settings, functions, comments, and a launch line every ten lines."""
    lines = ["#!/bin/bash", "#SBATCH --nodes=1", "#SBATCH --gres=gpu:8", "MODEL=/models/Kimi-K2.5", "# vllm==0.19.1"]
    n = 0
    while len(lines) < LINES:
        n += 1
        lines += [
            f"export NCCL_SOCKET_IFNAME=eth{n}",
            f"wait_for() {{ until curl -sf localhost:{8000 + n}; do :; done; }}",
        ]
        lines += ["if [ -e /tmp/ready ]; then", f'  echo "node $(hostname) is ready ({n})"', "fi", "# and the next one"]
        lines += COMMAND.format(n=n, length=4096 * n).splitlines()
    return "\n".join(lines[:LINES]) + "\n"


def run(command: Sequence[str], expected: Sequence[int] = (0,)) -> None:
    """Runs a command to its end. Raises AssertionError on another exit status than those expected."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in expected, f"{command}: {done.returncode}: {done.stderr[-500:]}"


def engines_own() -> str:
    """vLLM 0.19.1's program in the lab's environment, "" where there is none."""
    found = sorted((paths.storage() / "envs").glob("vllm-0.19.1-cpu-*/bin/python"))
    return str(found[-1]) if found else ""


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows: list[Row] = []

    def measured(what: str, command: Sequence[str], expected: Sequence[int] = (0,), rounds: int = 0) -> None:
        seconds = [timed(lambda: run(command, expected)) for _ in range(rounds or options.rounds)]
        rows.append({"what": what, "seconds": spread(seconds)})

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "serve.sbatch"
        file.write_text(script())
        run([INVOKE, "plan", "-s", "k25-vllm-optimized"])  # so that the files are in memory
        measured("`invoke --version`: Python and Invoke alone", [INVOKE, "--version"])
        measured("`invoke plan -s k25-vllm-optimized`", [INVOKE, "plan", "-s", "k25-vllm-optimized"])
        measured("`invoke plan -s k2-sglang-pd-4p12d`: 16 ranks", [INVOKE, "plan", "-s", "k2-sglang-pd-4p12d"])
        measured(f"`invoke lint` of a script of {LINES} lines", [INVOKE, "lint", str(file)], (3,))
        measured("`invoke fit kimi-k2.5 --tensor 8`", [INVOKE, "fit", "kimi-k2.5", "--tensor", "8"])
    if python := engines_own():
        words = ["--tensor-parallel-size", "8", "--swap-space", "32"]
        own = [python, "-m", "vllm.entrypoints.cli.main", "serve", "/models/Kimi-K2.5", *words]
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        measured("vLLM's own parser, which stops at the first wrong option", own, (2,), rounds=2)
    report("plan", "proof before spend, cold processes", rows)


if __name__ == "__main__":
    main()
