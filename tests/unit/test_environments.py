"""An environment as its files say: what is in it, what it was built with, and how it is addressed."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.errors import InputError
from infra import environments
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


@pytest.mark.parametrize("name", environments.names())
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
