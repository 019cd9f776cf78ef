"""An environment as its files say: what is in it, what it was built with, and how it is addressed."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.errors import InputError
from infra import environments
from lab import container_image
from tests.unit.stacks import SOFTWARE
from tests.unit.stacks import environments as folders

UNPINNED = {"sglang-0.5.23", "sglang-0.5.9", "sglang-kt-0.7.2", "vllm-0.19.1-ray", "vllm-0.33.0"}
"""Environments that can be previewed and not brought up: nobody has solved them yet."""
LOCK = """version: 7
environments:
  default:
    packages:
      linux-64:
      - conda: https://channel.example/linux-64/python-3.11.9-h1_0_cpython.conda
packages:
- conda: https://channel.example/linux-64/python-3.11.9-h1_0_cpython.conda
  sha256: 00
- conda: https://channel.example/noarch/ca-certificates-2026.1.1-hbd8a1cb_0.conda
- conda: /mirror/channel/noarch/pip-26.0.1-0.tar.bz2
"""
REQUIREMENTS = """# made from requirements.in
Jinja2==3.1.6 --hash=sha256:00
uvicorn[standard]==0.46.0 \\
    --hash=sha256:00
nvidia-cuda-runtime-cu12==12.8.90 ; platform_system == "Linux" --hash=sha256:00
vllm==0.19.1+cpu --hash=sha256:00
"""


def test_packages() -> None:
    assert replace(SOFTWARE, lock=LOCK, requirements=REQUIREMENTS).packages == (
        "conda ca-certificates 2026.1.1",
        "conda pip 26.0.1",
        "conda python 3.11.9",
        "pip Jinja2 3.1.6",
        "pip nvidia-cuda-runtime-cu12 12.8.90",
        "pip uvicorn 0.46.0",
        "pip vllm 0.19.1+cpu",
    )


def test_cuda() -> None:
    assert replace(SOFTWARE, requirements=REQUIREMENTS).cuda == "12.8"
    assert replace(SOFTWARE, requirements="torch==2.10.0\n").cuda == ""


VERSIONS: list[tuple[str, tuple[str, ...] | None]] = [
    ("vllm==0.19.1\n", ("0.19.1",)),
    ("# vllm==0.18.0\nvllm[audio] == 0.19.1+cpu  # the lab's\n", ("0.19.1+cpu",)),
    ("VLLM==0.19.1 ; python_version < '3.12'\nvllm===0.19.2\n", ("0.19.1", "0.19.2")),
    ("vllm==0.19.1,<1 \\\n    --hash=sha256:00\n", ("0.19.1",)),
    ("vllm>=0.19.1\n", ()),
    ("vllm==0.19.*\n", ()),
    ("vllm @ https://wheels.example/vllm.whl\n", ()),
    ("vllm", ()),
    ("vllm-flash-attn==2.0\n", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "versions"), VERSIONS)
def test_versions(text: str, versions: tuple[str, ...] | None) -> None:
    assert replace(SOFTWARE, requirements=text).versions("vllm") == versions
    assert replace(SOFTWARE, requirements="", asked=text).versions("vllm") == versions


def test_names_of_distributions_are_compared_as_the_standard_says() -> None:
    assert replace(SOFTWARE, requirements="Tensorrt_LLM==1.3.0rc3\n").versions("tensorrt-llm") == ("1.3.0rc3",)


PIN, LOCK_IT = "run: python -m tools.pin_requirements infra/environments/engine", "run: invoke env.lock engine"
STEPS: list[tuple[str, str, str, str, str]] = [
    ("a==1", "a==1", "packages:", "", ""),
    ("a==1", "a==1", "", "conda.lock", LOCK_IT),
    ("a==1", "", "packages:", "requirements.txt", PIN),
    ("a==1", "", "", "requirements.txt", f"{PIN}, then {LOCK_IT}"),
    ("", "", "", "requirements.txt", f"write infra/environments/engine/requirements.in, then {PIN}, then {LOCK_IT}"),
]


@pytest.mark.parametrize(("asked", "requirements", "lock", "missing", "step"), STEPS)
def test_what_an_environment_lacks(asked: str, requirements: str, lock: str, missing: str, step: str) -> None:
    found = replace(SOFTWARE, asked=asked, requirements=requirements, lock=lock)
    assert (found.missing, found.next_step, found.locked) == (missing, step, not missing)


def test_the_shipped_environments_that_hold_a_release() -> None:
    assert environments.holding("vllm", "0.19.1", cpu=False) == ("vllm-0.19.1", "vllm-0.19.1-ray")
    assert environments.holding("vllm", "0.19.1", cpu=True) == ("vllm-0.19.1-cpu",)
    assert environments.holding("vllm", "0.18.0", cpu=False) == ()


def test_the_digest_is_of_the_lock_and_the_requirements() -> None:
    wanted = hashlib.sha256(f"{SOFTWARE.lock}\0{SOFTWARE.requirements}".encode()).hexdigest()[:16]
    assert SOFTWARE.digest == wanted
    assert replace(SOFTWARE, tools="other").digest == wanted
    assert replace(SOFTWARE, tools="other").tools_digest != SOFTWARE.tools_digest


def test_load(tmp_path: Path) -> None:
    folders(tmp_path)
    assert environments.names(tmp_path) == ("engine", "unlocked")
    assert environments.load("engine", tmp_path) == SOFTWARE
    assert environments.load("engine", tmp_path).locked
    assert not environments.load("unlocked", tmp_path).locked
    with pytest.raises(InputError, match="did you mean engine"):
        environments.load("engin", tmp_path)
    with pytest.raises(InputError):
        environments.load("py-rattler", tmp_path)


def test_an_environment_may_be_an_image(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "image.yml").write_text("name: localhost/engine\n")
    found = environments.load("engine", tmp_path)
    assert found.image == f"localhost/engine@sha256:{'0' * 64}"
    assert (found.locked, found.missing, found.next_step) == (False, "image.lock", "run: make setup")
    (tmp_path / "engine" / "image.lock").write_text(f"localhost/engine@sha256:{'ab' * 32}\n")
    found = environments.load("engine", tmp_path)
    assert found.image == f"localhost/engine@sha256:{'ab' * 32}"
    assert (found.locked, found.missing, found.next_step) == (True, "", "")


def test_the_shipped_image_says_what_the_lab_builds() -> None:
    name = container_image.LOCK.parent.name
    assert environments.load(name).image.startswith(f"{container_image.NAME}@sha256:")


@pytest.mark.parametrize("name", [name for name in environments.names() if not environments.load(name).image])
def test_shipped_environments_are_pinned(name: str) -> None:
    found = environments.load(name)
    assert found.tools
    asked = (environments.FOLDER / name / "requirements.in").read_text().splitlines()
    package, _, version = next(line for line in asked if "==" in line and line[0] != "#").partition("==")
    assert name.startswith(f"{package}-{version.partition('+')[0]}")
    if name in UNPINNED:
        assert not found.requirements
    else:
        assert any(line.startswith(f"pip {package} {version}") for line in found.packages)
