"""TensorRT-LLM's launch in the lab: rootless containers, a mesh of keys, mpirun of 16 ranks in a SLURM job; faults.

The engine is a stand-in (lab/stand_in); everything around it is real. The tests run in order on one stack, `mpitest`.
"""

import contextlib
import http.client
import time
from collections.abc import Iterator

import pytest

from infra.environments import load
from lab import nodes
from tests.lab.commands import Run, change, copied, fresh, on, until
from tools.places import STACKS

pytestmark = [pytest.mark.lab, pytest.mark.pulumi, pytest.mark.timeout(900)]

STACK, OTHER = "mpitest", "mpiother"
FILE = STACKS / f"Pulumi.{STACK}.yaml"
FOLDER = f"/storage/.slipway/{STACK}"
RANKS = "pgrep -u slipway -f '^/usr/bin/python3 /usr/local/bin/trtllm-serve' || true"
PODMAN = "runuser -u slipway -- env -C / XDG_RUNTIME_DIR=/tmp/podman-run-64100 podman"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The commands, on three fresh machines."""
    with fresh(3, tmp_path_factory.mktemp("mpi")) as commands, copied(commands, "lab-trtllm", STACK):
        yield commands


def state(run: Run, stack: str = STACK) -> object:
    return run.json("invoke", "status", "-s", stack)["state"]


def tokens(run: Run, stack: str = STACK) -> int:
    return int(str(run.json("invoke", "smoke", "-s", stack)["tokens"]))


def log() -> str:
    return on("login", f"cat $(ls -t {FOLDER}/job-*.out | head -n 1)")


def ranks() -> dict[str, list[str]]:
    return {node: on(node, RANKS).split() for node in ("dgx1", "dgx2")}


def asked(key: str) -> int:
    """The status of a question with that key, from this machine."""
    with contextlib.closing(http.client.HTTPConnection("10.77.0.21", 8000, timeout=10)) as connection:
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
        return connection.getresponse().status


def as_slipway(command: str) -> str:
    return f"runuser -u slipway -- {command}"


def test_a_full_disk_while_the_image_is_loaded_is_named(run: Run) -> None:
    """One node's disk is full: `up` says which, what and where, and leaves no half image there; the other has it."""
    small = "/var/lib/slipway/home/.local"
    on("dgx2", f"install -d {small} && mount -t tmpfs -o size=48m tmpfs {small} && chmod 777 {small}")
    try:
        shown = run.up(STACK, status=1)
        failed = shown[shown.index("Diagnostics:") :]
        assert "dgx2" in failed
        assert "dgx1" not in failed
        assert "space" in failed
    finally:
        # as after a reboot: what Podman remembers of that disk goes, and the namespace in which it is still mounted
        runtime = "/tmp/podman-run-64100"  # noqa: S108 - Podman's own
        on("dgx2", f"umount -l {small}; rmdir {small}; kill $(cat {runtime}/libpod/tmp/pause.pid); rm -rf {runtime}")


def test_sixteen_ranks_over_two_nodes_serve_a_token(run: Run) -> None:
    run.up(STACK)
    assert state(run) == "ready"
    assert tokens(run) > 0
    assert "16 ranks report as placed" in log()
    assert {node: len(found) for node, found in ranks().items()} == {"dgx1": 8, "dgx2": 8}


def test_an_unchanged_stack_is_not_touched(run: Run) -> None:
    before = ranks()
    assert "unchanged" in run.up(STACK)
    assert ranks() == before


def test_the_endpoint_wants_its_key_which_is_in_no_argv(run: Run) -> None:
    key = on("login", f"cat {FOLDER}/api-key")
    assert asked("") == 401
    assert asked("wrong") == 401
    assert asked(key) == 200
    for node in ("login", "dgx1", "dgx2"):
        assert key not in on(node, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert key not in run("pulumi", "stack", "export", "-s", STACK)


def test_a_rank_that_dies_is_named_and_the_job_comes_back_once(run: Run) -> None:
    """It ends all ranks on all nodes within seconds, says which it was, and serves again without an `up`."""
    victim = ranks()["dgx2"][3]
    before = {pid for found in ranks().values() for pid in found}
    on("dgx2", f"kill -9 {victim}")
    assert until(lambda: "died by signal 9" in log(), 10) < 10
    assert "on dgx2 (local rank 3)" in log() or "on dgx2 (local rank" in log()
    until(lambda: not before & {pid for found in ranks().values() for pid in found}, 15)
    until(lambda: state(run) == "ready", 60)
    assert tokens(run) > 0
    assert "starting them once more" in log()


def test_keys_change_during_a_run(run: Run) -> None:
    """`invoke rotate`: other keys on both nodes, and the same ranks go on."""
    before, published = ranks(), on("login", f"cat {FOLDER}/mesh/dgx1.json")
    shown = run("invoke", "rotate", "-s", STACK)
    assert "all 2 pairs" in shown
    assert on("login", f"cat {FOLDER}/mesh/dgx1.json") != published
    assert on("dgx1", f"ls /tmp/slipway.{STACK}.*/mesh | grep -c '^user\\.[0-9]*$'") == "1", (
        "an old private key is left"
    )
    assert ranks() == before
    assert tokens(run) > 0


@pytest.mark.usefixtures("run")
def test_a_man_in_the_middle_is_refused() -> None:
    """Another machine answers at the address of dgx2, whose cable is out: the mesh says so, by the pair of hosts."""
    pairs = as_slipway(f"python3 -I {FOLDER}/mesh.py pairs {FOLDER}/mesh.json")
    nodes.cut("dgx2")
    on(
        "login",
        "mkdir -p /run/sshd; rm -f /run/evil.key*; ssh-keygen -q -t ed25519 -N '' -f /run/evil.key\n"
        "ip address add 10.77.0.22/32 dev host0\n"
        "/usr/sbin/sshd -h /run/evil.key -p 2233 -o ListenAddress=10.77.0.22 -o PidFile=/run/evil.pid",
    )
    try:
        on("dgx1", "ip neigh flush dev host0")
        said = on("login", f"{pairs} 8 2>&1", status=1)
        assert "dgx1 -> dgx2: wrong host key" in said
    finally:
        on("login", "kill $(cat /run/evil.pid); ip address del 10.77.0.22/32 dev host0; rm -f /run/evil.key*")
        nodes.heal("dgx2")
        on("dgx1", "ip neigh flush dev host0")
    until(lambda: "proven" in on("login", f"{pairs} 20 2>&1", status=None), 40)


def test_a_cut_of_half_a_minute_is_survived(run: Run) -> None:
    """The cable of dgx2 is out for 30 s: the status says so, and the same ranks serve afterwards."""
    before = ranks()
    nodes.cut("dgx2")
    try:
        began = time.monotonic()
        until(lambda: state(run) == "degraded", 50)  # it waits for a token that does not come
        time.sleep(max(0, 30 - (time.monotonic() - began)))
    finally:
        nodes.heal("dgx2")
    until(lambda: state(run) == "ready", 60)
    assert ranks() == before
    assert tokens(run) > 0


def test_two_engines_share_nodes_on_disjoint_gpus(run: Run) -> None:
    """Half of each node for each of two stacks of different engines, both over both nodes, at once."""
    change(FILE, "shm: 256M}", "shm: 256M, gpus: 4}")
    change(FILE, "{data: 16}", "{data: 8}")
    run.up(STACK)
    with copied(
        run,
        "lab-sglang-pd",
        OTHER,
        ("slipway:fleet: lab-bare", "slipway:fleet: lab"),
        ("{name: systemd}", "{name: systemd, gpus: 4, time: '1:00:00'}"),
        ("{data: 8, expert: true}", "{data: 4, expert: true}"),
        ('"8000"', '"8100"'),
    ):
        try:
            run.up(OTHER)
            assert tokens(run, OTHER) > 0
            assert tokens(run) > 0
            both = {on("login", f"squeue --noheader --name=slipway-{it} --format='%N %b'") for it in (STACK, OTHER)}
            assert both == {"dgx[1-2] gres:gpu:4"}
        finally:
            run("invoke", "teardown", "-s", OTHER, "--yes")
    assert tokens(run) > 0


def test_scancel_ends_all_on_all_nodes(run: Run) -> None:
    """Containers included, though their end is no cgroup's; the next `up` submits once more."""
    on("login", f"scancel --name=slipway-{STACK}")
    until(lambda: not any(ranks().values()), 60)
    left = "pgrep -u slipway -x 'conmon|sshd|mpirun|python3'"
    until(lambda: not any(on(node, left, None) for node in ("dgx1", "dgx2")), 60)
    until(lambda: state(run) == "failed", 30)


def test_an_image_that_is_missing_on_one_node_is_brought_there(run: Run) -> None:
    reference = load("trtllm-1.3.0rc3-lab").image
    on("dgx2", f"{PODMAN} rmi --force {reference}")
    shown = run("pulumi", "preview", "-s", STACK, "--diff", "--non-interactive")
    assert f"dgx2: + image:{reference}" in shown
    assert f"dgx1: + image:{reference}" not in shown
    run.up(STACK)
    assert tokens(run) > 0


def test_teardown_leaves_nothing(run: Run) -> None:
    """No process, container, key, port, folder or claim of the stack on any node."""
    shown = run("invoke", "teardown", "-s", STACK, "--yes")
    assert "nothing of mpitest is left" in shown
    assert not any(ranks().values())
    for node in ("dgx1", "dgx2"):
        assert on(node, f"ls -d /tmp/slipway.{STACK}.* 2>/dev/null", None) == ""
        assert on(node, "ss -Hltn 'sport = :2233'") == ""
