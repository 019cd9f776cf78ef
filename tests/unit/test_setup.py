"""`make setup` as a whole: a second run does nothing, quickly, and two runs do not meet."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tools.places import ROOT

HOLD = """\
import sys
from pathlib import Path
from tools.progress import Progress
from tools.setup import only_one
with only_one(Progress(logs=Path("unused"))):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_run_says_that_there_is_nothing_to_do_within_3_s() -> None:
    start_s = time.monotonic()
    argv = [sys.executable, "-m", "tools.setup", "--no-lab"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("setup: nothing to do")
    assert time.monotonic() - start_s < 3


def test_a_second_run_waits_for_the_first_and_says_for_which(tmp_path: Path) -> None:
    env = {**os.environ, "SLIPWAY_CACHE": str(tmp_path)}
    with holder(env) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "held\n"
        with holder(env) as second:
            assert second.stdout is not None
            assert second.stdin is not None
            assert f"waiting for another `make setup` (process {first.pid})" in second.stdout.readline()
            first.kill()  # the kernel drops a dead run's lock
            assert second.stdout.readline() == "held\n"
            second.stdin.write("\n")
            second.stdin.flush()


def holder(env: dict[str, str]) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLD]
    return subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
