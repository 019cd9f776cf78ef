"""The SLURM files of the shipped fleets, as an administrator would review them."""

import pytest

from hosts import fleet
from roles.slurm import conf_files
from tests.conftest import Golden


@pytest.mark.parametrize("name", ["lab", "dgx-h200"])
def test_conf_files(name: str, golden: Golden) -> None:
    for path, text in conf_files(fleet.load(name)).items():
        golden(f"slurm/{name}{path}", text)
