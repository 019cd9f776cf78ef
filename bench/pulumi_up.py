"""A no-op `pulumi up -s lab` against a no-op `up` of a program with no resources, in turns.

python -m bench.pulumi_up [--rounds 5]       (the lab's stack must be up)
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.table import Row, report, spread, timed
from tools import activation
from tools.places import ROOT


def up(stack: str, folder: Path, environment: dict[str, str]) -> str:
    """Runs one `pulumi up` to its end; what it printed. Raises CalledProcessError."""
    command = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "-s", stack, "-C", str(folder)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def empty_project(folder: Path) -> None:
    """A project like ours whose program declares nothing."""
    (folder / "infra").mkdir()
    (folder / "infra" / "__main__.py").write_text("import pulumi\n")
    (folder / "backend").mkdir()
    (folder / "Pulumi.yaml").write_text(
        f"name: empty\nruntime: {{name: python, options: {{virtualenv: {sys.prefix}}}}}\nmain: infra\n"
        "options: {refresh: always}\n"
    )


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ours = activation.environment(os.environ)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty_project(folder)
        theirs = ours | {"PULUMI_BACKEND_URL": f"file://{folder}/backend"}
        init = ["pulumi", "stack", "init", "empty", "-C", name]
        subprocess.run(init, env=theirs, check=True, capture_output=True)
        up("empty", folder, theirs)
        up("lab", ROOT, ours)
        lab: list[float] = []
        empty: list[float] = []
        for _ in range(options.rounds):
            empty.append(timed(lambda: up("empty", folder, theirs)))
            lab.append(timed(lambda: up("lab", ROOT, ours)))
    ratio = statistics.median(lab) / statistics.median(empty)
    rows: list[Row] = [
        {"what": "no-op `pulumi up -s lab` (reads three machines)", "seconds": spread(lab)},
        {"what": "no-op `pulumi up` of an empty program", "seconds": spread(empty)},
        {"what": "ratio of the medians", "seconds": f"{ratio:.2f}"},
    ]
    report("pulumi_up", "a no-op up", rows)


if __name__ == "__main__":
    main()
