"""SLURM's own tasks as MPI ranks: who may have them, what srun is told, and the shell that each rank runs in."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.resources.files import File
from infra import spec
from infra.deployment import Deployment, Parallelism
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS, tasks
from infra.placement import place
from roles import requirements
from tests.unit.stacks import SOFTWARE, changed

DIGEST = "sha256:" + "ab" * 32
IMAGE = f"registry.example/engine@{DIGEST}"
TASKS = {"name": "slurm", "mpi": "pmix", "time": "60"}


@pytest.mark.parametrize(
    ("image", "spelt"),
    [
        (IMAGE, f"registry.example#engine:{DIGEST}"),
        (f"registry.example:5000/a/b/engine@{DIGEST}", f"registry.example:5000#a/b/engine:{DIGEST}"),
        (f"registry.example/a/engine:1.2@{DIGEST}", f"registry.example#a/engine:{DIGEST}"),
        (f"localhost/engine@{DIGEST}", f"localhost#engine:{DIGEST}"),
        (f"a/engine@{DIGEST}", f"a/engine:{DIGEST}"),
        (f"engine:1.2@{DIGEST}", f"engine:{DIGEST}"),
    ],
)
def test_an_image_as_enroot_takes_it(image: str, spelt: str) -> None:
    assert tasks.enroot(image) == spelt


def problems(stack: str, launcher: object) -> list[Problem]:
    """What is wrong with a shipped stack that has another launcher."""
    file = spec.STACKS / f"Pulumi.{stack}.yaml"
    try:
        return list(spec.parse(stack, changed("launcher", launcher, file.read_text()), str(file)).warnings)
    except InputError as error:
        return list(error.problems)


@pytest.mark.parametrize(
    ("stack", "launcher", "where", "says"),
    [
        ("k2-vllm-tp16", TASKS, "$.launcher.mpi", "not ranks of an MPI job); leave `mpi: pmix` out"),
        ("k2-trtllm-tp16", TASKS, "$.image", "use the launcher mpirun, which runs the image by Podman"),
        ("k2-trtllm-tp16", {**TASKS, "mpi": "pmi2"}, "$.launcher.mpi", "one of pmix"),
        ("k2-trtllm-tp16", {"name": "mpirun", "mpi": "pmix"}, "$.launcher", "it has no effect"),
    ],
)
def test_what_is_said_of_a_stack(stack: str, launcher: object, where: str, says: str) -> None:
    found = [str(problem) for problem in problems(stack, launcher) if problem.where == where]
    assert any(says in text for text in found), found


def by_tasks(**changes: object) -> Deployment:
    """TensorRT-LLM by tasks of SLURM, from an environment."""
    d = spec.load("k2-trtllm-tp16")
    d = replace(d, image="", environment="engine", software=SOFTWARE)
    return replace(d, launcher=replace(d.launcher, name="slurm", mpi="pmix", **changes))  # type: ignore[arg-type]


def test_a_rank_a_gpu_behind_a_gateway() -> None:
    d = by_tasks()
    placed = place(d)
    assert [rank.rendezvous for rank in placed.ranks] == ["mpi"] * 16
    assert (d.gated, d.listen) == (True, ("127.0.0.1", 18000))
    stages = LAUNCHERS["slurm"].stages(d, placed, ENGINES["trtllm"], digests={})
    names = {r.path.rpartition("/")[2] for s in stages for r in s.hosts["login"] if isinstance(r, File)}
    assert names == {
        "gate.py", "ready.py", "weights.py", "weights.manifest", "trtllm.yaml", "nginx.conf", "gateway.sh",
        "job.sbatch",
    }  # fmt: skip


@pytest.mark.parametrize(("given", "each"), [(0, None), (112, "14"), (20, "2"), (4, "1")])
def test_the_cpus_of_a_node_are_its_tasks(given: int, each: str | None) -> None:
    d = by_tasks(cpus=given)
    step = list(tasks.srun_options(d, place(d)))
    assert [option.partition("=")[2] for option in step if option.startswith("--cpus-per-task")] == (
        [each] * bool(each)
    )
    script = LAUNCHERS["slurm"].files(d, place(d), ENGINES["trtllm"])["job.sbatch"]
    assert (f"#SBATCH --cpus-per-task={each}\n" in script) is bool(each)
    assert "#SBATCH --ntasks-per-node=8\n" in script


def test_one_node_and_a_piece_of_a_node() -> None:
    d = replace(by_tasks(gpus=4), parallelism=Parallelism(tensor=4))
    assert list(tasks.srun_options(d, place(d)))[:4] == [
        "--nodes=1", "--ntasks=4", "--ntasks-per-node=4", "--distribution=block",
    ]  # fmt: skip


SITE = {need.name: need for need in requirements.site(partition="gpu", by_tasks=True, image=True)}


@pytest.mark.parametrize(
    ("check", "srun", "found"),
    [
        ("pmix", "MPI plugin types are...\n\tnone\n\tpmix\nspecific pmix plugin versions available: pmix_v4", "ok"),
        ("pmix", "MPI plugin types are...\n\tnone\n\tpmi2", "no PMIx; srun says: MPI plugin types are... none pmi2 "),
        ("pyxis", "Usage: srun\n      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH", "ok"),
        ("pyxis", "Usage: srun\n      --container=<path>", "an srun without --container-image"),
        ("pyxis", "", "no srun on this host"),
    ],
)
def test_what_a_site_needs(check: str, srun: str, found: str, tmp_path: Path) -> None:
    if srun:
        program(tmp_path / "srun", f"#!/bin/bash\ncat <<'END'\n{srun}\nEND\n")
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", SITE[check].check], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.removesuffix("\n") == found


@pytest.mark.parametrize(
    ("by_tasks", "image", "needed"),
    [(False, False, []), (False, True, []), (True, False, ["pmix"]), (True, True, ["pmix", "pyxis"])],
)
def test_only_tasks_in_an_image_need_pyxis(by_tasks: bool, image: bool, needed: list[str]) -> None:
    asked = requirements.site(partition="gpu", by_tasks=by_tasks, image=image)
    assert [need.name for need in asked][3:] == needed


def program(path: Path, text: str) -> None:
    """A program on PATH."""
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def d() -> Iterator[Deployment]:
    """A stack of a name that no other run of the tests has; what ranks of it leave is removed."""
    d = replace(by_tasks(), stack=f"try-{os.getpid()}")
    yield d
    for path in folders(d):
        shutil.rmtree(path)


def folders(d: Deployment) -> list[Path]:
    """The temporary folders of the stack on this machine."""
    return sorted(Path("/tmp").glob(f"slipway.{d.stack}.*"))  # noqa: S108


def start(d: Deployment, bin_: Path, engine: str) -> list[subprocess.Popen[str]]:
    """Two ranks of one node, as a step of job 7 starts them, with an engine that is a line of shell."""
    script = LAUNCHERS["slurm"].files(d, place(d), ENGINES["trtllm"])["job.sbatch"]
    rank = script.partition("<<'SLIPWAY_RANK' &\n")[2].partition("\nSLIPWAY_RANK\n")[0]
    program(bin_ / "trtllm-llmapi-launch", f"#!/bin/bash\n{engine}\n")
    common = {"PATH": f"{bin_}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
    common |= {"SLIPWAY_BEGAN": str(int(time.time())), "SLIPWAY_RUN": str(bin_)}
    return [
        subprocess.Popen(
            ["bash", "-c", rank],
            env={**common, "SLURM_LOCALID": number, "SLURM_PROCID": number},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in "12"  # not 0, which looks at a port of this machine
    ]


def test_each_rank_has_a_private_folder_and_removes_it(d: Deployment, tmp_path: Path) -> None:
    """What an earlier job left is removed, and a folder that somebody else made first is in nobody's way."""
    earlier = Path(f"/tmp/slipway.{d.stack}.earlier")  # noqa: S108
    earlier.mkdir()
    os.utime(earlier, (0, 0))
    foreign = Path(f"/tmp/slipway.{d.stack}.7")  # noqa: S108
    foreign.mkdir()
    if os.geteuid() == 0:
        os.chown(foreign, 65534, 65534)
    os.utime(foreign, (0, 0))
    ranks = start(d, tmp_path, 'stat -c "$SLIPWAY_STACK %a $SLURM_PROCID $1" "$TMPDIR"; echo "$TMPDIR"')
    said = [process.communicate(timeout=30)[0].splitlines() for process in ranks]
    assert [lines[0] for lines in said] == [f"{d.stack} 700 {n} trtllm-serve" for n in (1, 2)]
    assert said[0][1] != said[1][1]
    assert [process.returncode for process in ranks] == [0, 0]
    assert folders(d) == [foreign] * (os.geteuid() == 0)


def test_a_rank_that_dies_is_named_and_one_that_is_told_to_end_is_not(d: Deployment, tmp_path: Path) -> None:
    first, second = start(d, tmp_path, '[ "$SLURM_PROCID" = 2 ] && exit 9; echo there; exec sleep 60')
    assert second.communicate(timeout=30)[0] == "slipway: error: rank 2 on n1 ended with status 9\n"
    assert second.returncode == 9
    assert first.stdout is not None
    assert first.stdout.readline() == "there\n"
    first.send_signal(signal.SIGTERM)
    assert first.communicate(timeout=30)[0] == ""
    assert first.returncode == 143
    assert folders(d) == []
