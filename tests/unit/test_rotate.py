"""`invoke rotate`: what the login host is asked, run for real with a program of the test's in the mesh's place."""

import getpass
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.connection import Output, Progress, Remote
from hosts.errors import Failed, InputError
from hosts.fleet import Storage
from infra import paths
from infra.deployment import Deployment
from infra.operate.rotate import TIMEOUT_S, rotate
from tests.unit.stacks import shipped


@pytest.fixture
def d(tmp_path: Path) -> Deployment:
    """A stack with a mesh whose files belong to who runs the test."""
    made = shipped("k2-trtllm-tp16")
    hosts = tuple(replace(host, user=getpass.getuser()) for host in made.fleet.hosts)
    storage = Storage(path=f"{tmp_path}/a b", shared=True)
    made = replace(made, fleet=replace(made.fleet, slurm="none", hosts=hosts, storage=storage))
    Path(paths.job_folder(made)).mkdir(parents=True)
    return made


def here(name: str) -> Remote:
    """The login host, which is this machine."""
    assert name == "login"

    def run(script: str, progress: Progress | None = None) -> Output:
        assert progress
        done = subprocess.run(["bash", "-s"], input=script, capture_output=True, text=True, check=False)
        return Output(stdout=done.stdout, stderr=done.stderr, status=done.returncode)

    return run


def mesh(d: Deployment, program: str) -> None:
    """A mesh that has keys, and its program."""
    folder = Path(paths.job_folder(d))
    (folder / "mesh").mkdir()
    (folder / "mesh.py").write_text(f"import sys\n{program}\n")


def test_it_asks_the_mesh_and_says_what_that_says(d: Deployment) -> None:
    mesh(d, "print('slow'); print(sys.argv[1:])")
    assert rotate(d, here, print) == str(["rotate", f"{paths.job_folder(d)}/mesh.json", str(TIMEOUT_S)])


FAILS = [
    ("sys.exit('dgx2 does not follow')", "dgx2 does not follow"),
    ("print('one'); sys.exit(1)", "one"),
    ("sys.exit(1)", "its keys did not change on all nodes"),
]


@pytest.mark.parametrize(("program", "said"), FAILS)
def test_a_node_that_does_not_follow_is_named(d: Deployment, program: str, said: str) -> None:
    mesh(d, program)
    with pytest.raises(Failed, match=said):
        rotate(d, here, print)


def test_without_keys_it_says_so(d: Deployment) -> None:
    with pytest.raises(Failed, match="it has no keys yet: is it up"):
        rotate(d, here, print)


def test_only_one_launcher_has_keys(d: Deployment) -> None:
    other = replace(d, launcher=replace(d.launcher, name="ray"))
    with pytest.raises(InputError, match="found ray, wanted mpirun"):
        rotate(other, here, print)
