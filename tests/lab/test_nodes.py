"""Real vLLM over two nodes: tensor and data parallel (with experts) as SLURM jobs, then on a private Ray cluster.

The engine is the CPU build of vLLM 0.19.1; what Ray counts as a GPU is a stand-in (lab/vllm_stand_in).
"""

import contextlib
import http.client
import re
from collections.abc import Iterator

import pytest

from tests.lab.commands import Run, copied, fresh, on, until

pytestmark = [pytest.mark.lab, pytest.mark.pulumi, pytest.mark.timeout(900)]

RAY = "raytest"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The commands, on five fresh machines: SLURM on three of them, and Ray without it."""
    with fresh(5, tmp_path_factory.mktemp("nodes")) as commands:
        yield commands


@pytest.fixture(scope="module")
def ray(run: Run) -> Iterator[str]:
    """A stack on Ray, on machines without SLURM, so that each of its processes is a unit of its own."""
    bare = ("slipway:fleet: lab\n", "slipway:fleet: lab-bare\n")
    on("login", "rm -rf /storage/cache")  # the service user's, who runs nothing there
    with copied(run, "lab-ray", RAY, bare):
        yield RAY


def state(run: Run, stack: str) -> object:
    return run.json("invoke", "status", "-s", stack)["state"]


def tokens(run: Run, stack: str) -> int:
    return int(str(run.json("invoke", "smoke", "-s", stack)["tokens"]))


def pid(node: str, name: str) -> str:
    return on(node, f"systemctl show -p MainPID --value slipway-{RAY}.{name}.service")


def answered() -> dict[str, float]:
    """How many completions each data-parallel engine has given, by its number."""
    asked = 'r.Request("http://127.0.0.1:8000/metrics", headers={"Authorization": "Bearer " + key})'
    fetch = 'import urllib.request as r; key = open("/storage/.slipway/dp2test/api-key").read(); '
    fetch += f"print(r.urlopen({asked}).read().decode())"
    rows = re.findall(
        r'^vllm:request_success_total\{engine="(\d)",finished_reason="length".*\} ([0-9.]+)$',
        on("dgx1", f"python3 -c '{fetch}'"),
        re.MULTILINE,
    )
    return {engine: float(count) for engine, count in rows}


def test_tensor_parallel_over_two_nodes(run: Run) -> None:
    """As one SLURM job, with TLS: its gateway stands beside rank 0 and ends with the job."""
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=slipway -keyout key.pem -out cert.pem"
    on("login", f"cd /storage && {make} 2>/dev/null && chmod 644 key.pem")
    tls = "slipway:endpoint: {tls: {certificate: /storage/cert.pem, key: /storage/key.pem}}"
    with copied(run, "lab-tp2", "tp2test", ("  slipway:port:", f"  {tls}\n  slipway:port:")):
        assert "https://dgx1:8000" in run.up("tp2test")
        assert tokens(run, "tp2test") > 0
        said = run("invoke", "logs", "-s", "tp2test", "--lines", "400")
        assert "world_size=2 rank=1" in said or "rank 1 in world size 2" in said
        run("invoke", "teardown", "-s", "tp2test", "--yes")
        on("login", "rm /storage/cert.pem /storage/key.pem")


def test_data_parallel_with_experts_over_two_nodes(run: Run) -> None:
    """Both engines, one a node, answer: the head hands requests to the one that has fewer."""
    with copied(run, "lab-dp2", "dp2test"):
        run.up("dp2test")
        until(lambda: tokens(run, "dp2test") > 0 and all(answered().get(it) for it in "01"), 180)
        run("invoke", "teardown", "-s", "dp2test", "--yes")


def test_ray_over_two_nodes(run: Run, ray: str) -> None:
    """A rank on each node, and a completion."""
    run.up(ray)
    assert state(run, ray) == "ready"
    assert tokens(run, ray) > 0
    for node in ("dgx1", "dgx2"):
        assert on(node, "pgrep -f '^ray::RayWorkerWrapper' | wc -l") == "1"


@pytest.mark.usefixtures("run")
def test_nobody_joins_or_asks_without_the_token(ray: str) -> None:
    folder = f"/storage/.slipway/{ray}"
    python = on("dgx1", f"readlink -f /proc/{pid('dgx1', 'driver')}/exe")
    ask = f"env -C /tmp RAY_AUTH_MODE=token %s {python} {folder}/ray_cluster.py alive {folder}/ray.json"
    said = on("dgx2", ask % f"RAY_AUTH_TOKEN_PATH={folder}/ray-token")
    assert said.count("alive") == 2
    on("dgx2", f"printf {'0' * 64} >/run/wrong-token; chmod 600 /run/wrong-token")
    assert "alive" not in on("dgx2", ask % "RAY_AUTH_TOKEN_PATH=/run/wrong-token", status=None)


@pytest.mark.parametrize("path", ["/v1/models", "/tokenize", "/invocations", "/metrics"])
@pytest.mark.usefixtures("run", "ray")
def test_no_path_is_open_without_the_key(path: str) -> None:
    """vLLM itself asks for the key below /v1 alone; the gateway asks before all of them."""
    with contextlib.closing(http.client.HTTPConnection("10.77.0.21", 8000, timeout=10)) as connection:
        connection.request("GET", path)
        assert connection.getresponse().status == 401


def test_a_lost_worker_is_degraded_and_brought_back_without_the_head(run: Run, ray: str) -> None:
    head = pid("dgx1", "ray")
    on("dgx2", f"systemctl stop slipway-{ray}.ray.service")
    assert until(lambda: state(run, ray) == "degraded", 15) < 15
    run.up(ray)
    assert pid("dgx1", "ray") == head
    assert tokens(run, ray) > 0


def test_teardown_of_ray_leaves_nothing(run: Run, ray: str) -> None:
    shown = run("invoke", "teardown", "-s", ray, "--yes")
    assert f"nothing of {ray} is left" in shown
    for node in ("dgx1", "dgx2"):
        assert on(node, "ls /dev/shm | grep -E '^sem|plasma' || true") == ""
