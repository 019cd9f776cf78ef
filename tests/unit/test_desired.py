"""A deployment as stages: the claim first, the cluster from the fleet alone, a fingerprint of what runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from hosts.resources.claim import Claim
from hosts.resources.endpoint import Endpoint
from hosts.resources.environment import CondaEnv
from hosts.resources.files import Directory, File, SecretFile
from hosts.resources.slurm_job import SlurmJob
from hosts.resources.system import Requirement
from hosts.schema import parse_yaml
from hosts.state import Stage
from infra.deployment import Deployment
from infra.desired import cluster_requirements, cluster_stages, desired
from tests.unit.stacks import STACK, changed, parse

DIGESTS = {"munge-key": "ab" * 32}
SERVING = ["environment", "weights", "launch", "ready"]
OURS = ["environment", "gateway", "weights", "launch", "ready"]


def stages(d: Deployment, **digests: str) -> dict[str, Stage]:
    made = desired(d, backend="b" * 16, holder="me@here", digests={**DIGESTS, **digests})
    return {stage.name: stage for stage in made}


def job(d: Deployment, **digests: str) -> SlurmJob:
    (found,) = (r for r in stages(d, **digests)["launch"].hosts["login"] if isinstance(r, SlurmJob))
    return found


def script(d: Deployment) -> str:
    (found,) = (r for r in stages(d)["launch"].hosts["login"] if isinstance(r, File) and r.path.endswith("/job.sbatch"))
    return found.content


@pytest.fixture
def d(tmp_path: Path) -> Deployment:
    return parse(parse_yaml(STACK), tmp_path)


def test_stages_in_order(d: Deployment) -> None:
    assert list(stages(d)) == ["claim", "base", "storage", "munge", "slurm", *OURS]
    assert {stage.name for stage in stages(d).values() if stage.keep} == {
        "base", "storage", "munge", "slurm", "environment", "gateway", "weights",
    }  # fmt: skip


def test_somebody_elses_slurm_gets_no_cluster_stages(tmp_path: Path) -> None:
    d = parse(changed("fleet", "theirs"), tmp_path)
    assert list(stages(d)) == ["claim", *SERVING]
    assert {host for stage in stages(d).values() for host in stage.hosts} == {"login"}
    required = {r.name for r in stages(d)["claim"].hosts["login"] if isinstance(r, Requirement)}
    assert required == {"storage", "partition", "partition-gpus", "submit"}
    assert (job(d).user, job(d).completions, job(d).folder) == ("", "", "/shared/.slipway/test")
    assert {getattr(r, "owner", "") for r in stages(d)["launch"].hosts["login"]} == {""}
    (claim,) = (r for r in stages(d)["claim"].hosts["login"] if isinstance(r, Claim))
    assert claim.path == "/shared/.slipway/claims/fleet/test"


def test_two_stacks_of_one_fleet_render_equal_cluster_stages(tmp_path: Path) -> None:
    one = parse(parse_yaml(STACK), tmp_path)
    other = parse(changed("parallelism.tensor", 16), tmp_path, stack="other")
    assert cluster_stages(one.fleet, DIGESTS) == tuple(stages(one)[n] for n in ("base", "storage", "munge", "slurm"))
    for name in ("base", "storage", "munge", "slurm"):
        assert stages(one)[name] == stages(other)[name]
    assert "test" not in str(cluster_stages(one.fleet, DIGESTS))


def test_every_managed_host_is_claimed_after_what_must_hold(d: Deployment) -> None:
    for host in d.fleet.hosts:
        *needs, claim = stages(d)["claim"].hosts[host.name]
        assert isinstance(claim, Claim)
        assert claim.path == "/var/lib/slipway/claims/fleet/test"
        assert all(isinstance(need, Requirement) for need in needs)
        names = {need.name for need in needs if isinstance(need, Requirement)}
        assert {"os", "storage"} <= names
        assert ("driver" in names) is (host.role == "node")


def test_the_driver_is_asked_for_what_the_environment_was_built_with(d: Deployment) -> None:
    (driver,) = (r for r in stages(d)["claim"].hosts["n1"] if isinstance(r, Requirement) and r.name == "driver")
    assert "CUDA 12.8" in driver.wanted


def test_stand_in_gpus_are_asked_for_no_driver(d: Deployment) -> None:
    fleet = replace(d.fleet, stand_in=True)
    names = {r.name for r in stages(replace(d, fleet=fleet))["claim"].hosts["n1"] if isinstance(r, Requirement)}
    assert "driver" not in names
    assert "gpu-devices" in names


def test_what_the_cluster_alone_asks_for_writes_nothing(d: Deployment) -> None:
    checks = cluster_requirements(d.fleet)
    assert all(isinstance(r, Requirement) for resources in checks.hosts.values() for r in resources)
    assert {r.key for r in checks.hosts["n1"]} == {
        r.key for r in stages(d)["claim"].hosts["n1"] if isinstance(r, Requirement)
    } - {"requirement:nginx-service"}


def test_an_unlocked_environment_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    d = parse(changed("environment", "unlocked"), tmp_path)
    (found,) = (
        r for r in stages(d)["claim"].hosts["login"] if isinstance(r, Requirement) and r.name == "environment-lock"
    )
    assert found.check == "echo 'no conda.lock in infra/environments/unlocked'"
    assert found.fix == "run: invoke env.lock unlocked, and commit what it writes"
    assert any(isinstance(r, CondaEnv) for r in stages(d)["environment"].hosts["login"])


def test_what_is_shared_is_claimed_where_it_lies(d: Deployment) -> None:
    for stage, artifact in (("environment", f"env-engine-{d.software.digest}"), ("weights", "model-kimi-k2")):
        first = stages(d)[stage].hosts["login"][0]
        assert isinstance(first, Claim)
        assert first.path == f"/shared/.slipway/claims/{artifact}/test"


def test_the_folder_of_the_job_is_the_service_users_alone(d: Deployment) -> None:
    first, folder, key, proof_key, *files, last = stages(d)["launch"].hosts["login"]
    assert isinstance(first, Requirement), "what SLURM refuses is found before anything is written"
    assert script(d) in first.check.replace("'\"'\"'", "'")
    assert isinstance(folder, Directory)
    assert (folder.path, folder.mode, folder.owner, folder.purge) == ("/shared/.slipway/test", "0750", "slipway", True)
    assert isinstance(key, SecretFile)
    assert (key.path, key.mode, key.owner, key.digest) == ("/shared/.slipway/test/api-key", "0600", "slipway", "")
    assert isinstance(last, SlurmJob)
    assert (last.user, last.completions) == ("slipway", "/var/log/slurm/completions.log")
    assert isinstance(proof_key, SecretFile)
    assert (proof_key.path, proof_key.mode, proof_key.digest) == ("/shared/.slipway/test/proof-key", "0600", "")
    assert [file.path.rpartition("/")[2] for file in files if isinstance(file, File)] == [
        "gate.py", "ready.py", "weights.py", "weights.manifest", "nginx.conf", "gateway.sh", "job.sbatch",
    ]  # fmt: skip


def test_the_endpoint_asks_for_the_served_name(d: Deployment) -> None:
    (endpoint,) = stages(d)["ready"].hosts["login"]
    assert isinstance(endpoint, Endpoint)
    assert (endpoint.port, endpoint.model) == ("8000", "moonshotai/Kimi-K2-Instruct")
    assert endpoint.api_key_file == "/shared/.slipway/test/api-key"


def test_the_same_deployment_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (parse(parse_yaml(STACK), tmp_path) for _ in range(2))
    assert stages(first) == stages(second)


CHANGES = {
    "a flag": lambda d: replace(d, args={"max-model-len": 4096}),
    "a variable": lambda d: replace(d, env={"A": "1"}),
    "the port": lambda d: replace(d, port=9000),
    "the environment": lambda d: replace(d, software=replace(d.software, lock="other")),
    "a file of the model": lambda d: replace(d, model=replace(d.model, files=(f"{'0' * 64} 1 config.json",))),
    "the time": lambda d: replace(d, launcher=replace(d.launcher, time="1:00:00")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_what_runs_is_another_job(what: str, d: Deployment) -> None:
    assert job(CHANGES[what](d)).fingerprint != job(d).fingerprint


def test_another_key_is_another_job(d: Deployment) -> None:
    assert job(d, **{"api-key": "cd" * 32}).fingerprint != job(d).fingerprint


def test_what_does_not_run_is_the_same_job(d: Deployment) -> None:
    assert job(replace(d, default=True)).fingerprint == job(d).fingerprint
    assert job(d, **{"munge-key": "00" * 32}).fingerprint == job(d).fingerprint


def test_the_script_carries_the_fingerprint_of_its_job(d: Deployment) -> None:
    assert f"export SLIPWAY_FINGERPRINT={job(d).fingerprint}\n" in script(d)
    assert "export SLIPWAY_STACK=test\n" in script(d)
