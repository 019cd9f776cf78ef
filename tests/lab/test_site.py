"""A SLURM site that is somebody else's: an ordinary user, from the login host alone, to tokens and back to nothing.

It runs on the cluster that test_serve.py left in the lab (or makes it), as the user `eva`, who has no rights there.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts import fleet
from lab import nodes
from tests.lab.commands import Run, on
from tools.places import ROOT, STACKS

pytestmark = [pytest.mark.lab, pytest.mark.pulumi, pytest.mark.timeout(900)]

STACK = "sitetest"
FILE = STACKS / f"Pulumi.{STACK}.yaml"
FLEET = ROOT / "hosts" / "inventory" / "sitetest.yaml"
SITE = """slurm: existing
stand_in: true
partition: gpu
storage: {path: /storage/eva, shared: true}
known_hosts: ~/.cache/slipway/lab/known_hosts
identity: ~/.cache/slipway/lab/id_ed25519
wheels: /mirror/wheels
hosts:
  login: {role: login, address: 10.77.0.11, user: eva, sudo: false}
  dgx1: {address: 10.77.0.21, user: eva, cpus: 2, memory_mib: 12288, gpus: GPUS}
  dgx2: {address: 10.77.0.22, user: eva, cpus: 2, memory_mib: 12288, gpus: GPUS}
""".replace("GPUS", "{count: 8, model: stand-in, memory_mib: 143771}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The commands; a cluster with a user who may submit and nothing else."""
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    nodes.up(3)
    folder = tmp_path_factory.mktemp("site")
    (folder / "backend").mkdir()
    commands = Run(folder / "backend")
    on("login", "rm -f /etc/munge/munge.key")  # the value of whoever used the lab before: it would be held
    commands("invoke", "bootstrap-cluster", "--fleet", "lab")
    key = Path(fleet.load("lab").identity).expanduser().with_suffix(".pub").read_text().strip()
    for node in ("login", "dgx1", "dgx2"):
        on(node, "id eva >/dev/null 2>&1 || useradd --uid 64555 --create-home --shell /bin/bash eva")
    on("login", "install -d -m 700 -o eva ~eva/.ssh")
    on("login", f"echo '{key}' >~eva/.ssh/authorized_keys && chown eva ~eva/.ssh/authorized_keys")
    on("login", "rm -rf /storage/eva && install -d -o eva -g eva /storage/eva")
    FLEET.write_text(SITE)
    text = (STACKS / "Pulumi.lab.yaml").read_text()
    FILE.write_text(text.replace("slipway:fleet: lab", "slipway:fleet: sitetest").replace('"8000"', '"8017"'))
    try:
        commands("pulumi", "stack", "init", STACK)
        yield commands
    finally:
        FILE.unlink()
        FLEET.unlink()
        on("login", "rm -rf /storage/eva")


def test_a_site_serves_and_nothing_of_it_is_written_to(run: Run) -> None:
    """No cluster stage, no root; the job is eva's; an unchanged stack is not touched; teardown leaves nothing."""
    before = on("login", "find /etc/slurm /var/lib/slipway -type f -exec sha256sum {} + | sort")
    run("pulumi", "up", "-s", STACK, "--yes", "--skip-preview", "--non-interactive")
    answer = run.json("invoke", "smoke", "-s", STACK)
    assert int(str(answer["tokens"])) > 0
    assert on("login", f"squeue --noheader --name=slipway-{STACK} --format=%u") == "eva"
    shown = run("pulumi", "up", "-s", STACK, "--yes", "--skip-preview", "--non-interactive")
    assert "7 unchanged" in shown
    assert on("login", "find /etc/slurm /var/lib/slipway -type f -exec sha256sum {} + | sort") == before
    run("invoke", "teardown", "-s", STACK, "--yes")
    assert on("login", f"squeue --noheader --name=slipway-{STACK}") == ""
    assert on("login", f"ls -d /storage/eva/.slipway/{STACK}", status=None) == ""


def test_a_partition_that_is_not_there_is_refused(run: Run) -> None:
    """What the site has not is said before anything is written."""
    FILE.write_text(FILE.read_text().replace("partition: gpu", "partition: gpux"))
    shown = run("pulumi", "up", "-s", STACK, "--yes", "--skip-preview", "--non-interactive", status=1)
    assert "gpux" in shown
    assert "nothing was written" in shown
