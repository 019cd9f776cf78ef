"""The supervisor of a node under SLURM, as rendered, with real processes: what it starts, ends and leaves."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from roles import render


def start(folder: Path, scripts: Mapping[str, str], **variables: str) -> subprocess.Popen[str]:
    """The supervisor of the host `n1`, each process's script in the folder of that host."""
    (folder / "n1").mkdir()
    for name, text in scripts.items():
        (folder / "n1" / f"{name}.sh").write_text(f"{text}\n")
    text = render(
        "node.sh.j2",
        stack="unit",
        host="n1",
        folder=str(folder),
        new_run_folder="mktemp -d /tmp/slipway.unit.XXXXXX",
        names=tuple(scripts),
        containers=(),
        device="/dev/gpu",
    )
    return subprocess.Popen(
        ["bash", "-c", text],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_in(session: int) -> list[str]:
    """The processes of a session that live."""
    done = subprocess.run(["ps", "-o", "stat=,args=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if not line.startswith("Z")]  # whom nobody waited for


def test_one_that_ends_ends_all(tmp_path: Path) -> None:
    began = time.monotonic()
    process = start(tmp_path, {"rank-0": "exec sleep 60", "rank-1": "sleep 0.3; echo last words; exit 3"})
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 3
    assert said.splitlines() == ["(n1/rank-1) last words", "slipway: error: rank-1 on n1 ended with status 3"]
    assert time.monotonic() - began < 10
    assert left_in(process.pid) == []


def test_one_that_ends_well_has_ended_too(tmp_path: Path) -> None:
    process = start(tmp_path, {"rank-0": "exec sleep 60", "router": "exit 0"})
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, "router on n1 ended with status 0" in said) == (1, True)


def test_a_signal_ends_all_and_is_no_error(tmp_path: Path) -> None:
    process = start(
        tmp_path, {"rank-0": "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done", "b": "exec sleep 60"}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "(n1/rank-0) up\n"
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    assert process.returncode != 0
    assert said == "(n1/rank-0) bye\n"
    assert left_in(process.pid) == []


def test_what_slurm_and_mpi_have_set_stays_outside_and_the_gpus_are_given_on(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        {"a": "env | grep -E '^(SLURM|PMI|PMIX)' ; echo devices:$SLIPWAY_GPU_DEVICES"},
        SLURM_STEP_GPUS="4,6",
        SLURM_JOB_ID="7",
        PMI_RANK="0",
        PMIX_RANK="0",
    )
    said, _ = process.communicate(timeout=20)
    assert said.splitlines()[0] == "(n1/a) devices: --device /dev/gpu4 --device /dev/gpu6"
