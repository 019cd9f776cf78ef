"""All that the lab's engines need, made on this machine: wheels, Conda channel, locks, checkpoint."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import channel, checkpoint, paths, wheels
from lab.host import failure
from lab.progress import Say

ROOT = Path(__file__).parent.parent
LOCKED = (Path("infra/environments/vllm-0.19.1-cpu"), Path("infra/environments/sglang-0.5.23-lab"))


def is_done() -> bool:
    """Whether `prepare` has nothing to do; reads no large file."""
    return checkpoint.is_done() and channel.is_done() and all(map(lock_is_new, LOCKED)) and not wheels.missing()


def prepare(say: Say) -> None:
    """Make what is missing; each part can be cut short and goes on from there."""
    checkpoint.prepare(say)
    with ThreadPoolExecutor() as pool:  # one waits for the network, the other for the compiler
        jobs = [pool.submit(wheels.prepare, say), pool.submit(channel.prepare, say)]
    for job in jobs:
        job.result()
    for environment in LOCKED:
        if not lock_is_new(environment):
            lock(environment, say)


def lock_is_new(environment: Path) -> bool:
    """Whether an environment's lock was made after the channel, and after what asks for it last changed."""
    made = ROOT / environment / "conda.lock"
    basis = (ROOT / environment / "environment.yml", channel.done())
    return made.exists() and all(path.exists() and path.stat().st_mtime <= made.stat().st_mtime for path in basis)


def lock(environment: Path, say: Say) -> None:
    """Lock an environment, in a process of its own: the solver is in a layer that the lab may not import."""
    mirrors = [f"--mirror={seen}={here}" for seen, here in paths.mirrors().items()]
    argv = [sys.executable, "-m", "infra.operate.lock_environment", str(environment), *mirrors]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise failure(argv, done.returncode, done.stdout + done.stderr)
    for line in done.stdout.splitlines():
        say(line)
