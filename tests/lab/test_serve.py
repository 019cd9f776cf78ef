"""The whole path in the lab, by the commands of a user: up, no-op, drift, a changed flag, kills, a dead job, teardown.

The tests run in order on one stack, `labtest`: the shipped `lab` with a backend of its own.
"""

import signal
import time
from collections.abc import Iterator

import pytest

from lab import nodes
from tests.lab import commands
from tests.lab.commands import Run, copied, fresh, on
from tools.places import STACKS

pytestmark = [pytest.mark.lab, pytest.mark.pulumi, pytest.mark.timeout(900)]

STACK = "labtest"
FILE = STACKS / f"Pulumi.{STACK}.yaml"
JOBS = f"/storage/.slipway/{STACK}"


def jobs() -> list[str]:
    """The ids of the stack's live jobs."""
    return on(
        "login", f"squeue --noheader --name=slipway-{STACK} --states=PENDING,RUNNING,CONFIGURING --format=%i"
    ).split()


def another(before: list[str]) -> bool:
    """Whether there is a job that was not there before; asked once, since the old one may end between two answers."""
    found = jobs()
    return bool(found) and found != before


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The commands, on three fresh machines."""
    with fresh(3, tmp_path_factory.mktemp("serve")) as commands, copied(commands, "lab", STACK):
        yield commands


def change(old: str, new: str) -> None:
    """Edits the stack file as a user would."""
    commands.change(FILE, old, new)


def test_up_serves_a_completion(run: Run) -> None:
    """From three fresh machines to tokens."""
    shown = run.up(STACK)
    assert "endpoint" in shown
    answer = run.json("invoke", "smoke", "-s", STACK)
    assert int(str(answer["tokens"])) > 0
    status = run.json("invoke", "status", "-s", STACK)
    assert status["state"] == "ready"
    assert status["endpoint"]


def test_an_unchanged_stack_is_not_touched(run: Run) -> None:
    """A second `up` changes nothing, and the job is the same."""
    before = jobs()
    shown = run.up(STACK)
    assert "14 unchanged" in shown
    assert jobs() == before
    shown = run("invoke", "bootstrap-cluster", "--fleet", "lab")
    assert jobs() == before


def test_drift_is_shown_and_repaired_alone(run: Run) -> None:
    """A file changed by hand on one node shows by name in the preview; `up` repairs it and leaves the job alone."""
    before = jobs()
    on(
        "dgx2",
        "sed -i 's/=.*/= 77/' /etc/sysctl.d/90-slipway-net.core.somaxconn.conf; sysctl -q -w net.core.somaxconn=77",
    )
    shown = run("pulumi", "preview", "-s", STACK, "--diff", "--non-interactive")
    assert "dgx2: ~ sysctl:net.core.somaxconn" in shown
    run.up(STACK)
    assert on("dgx2", "sysctl -n net.core.somaxconn") != "77"
    assert jobs() == before


def test_a_drained_node_stays_drained(run: Run) -> None:
    """What somebody drained is never undrained by us."""
    on("login", "scontrol update nodename=dgx2 state=drain reason=somebody")
    run("invoke", "bootstrap-cluster", "--fleet", "lab")
    assert "drain" in on("login", "sinfo --noheader -n dgx2 --format=%T")
    on("login", "scontrol update nodename=dgx2 state=resume")


def test_secrets_stay_where_they_belong(run: Run) -> None:
    """The API key is in no process's argv and not in Pulumi's state."""
    key = on("login", f"cat {JOBS}/api-key")
    assert len(key) == 64
    assert key not in run("pulumi", "stack", "export", "-s", STACK)
    for node in ("login", "dgx1", "dgx2"):
        assert key not in on(node, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_a_changed_flag_replaces_the_job(run: Run) -> None:
    """Another flag is another fingerprint and another job; killed while it waits, the next `up` goes on."""
    before = jobs()
    change("max-num-seqs: 8", "max-num-seqs: 4")
    run.killed_up(STACK, lambda: another(before), signal.SIGKILL)
    submitted = jobs()
    run.up(STACK)
    assert jobs() == submitted
    assert len(submitted) == 1
    assert run.json("invoke", "status", "-s", STACK)["state"] == "ready", "`up` returned before the new job answered"


def test_a_kill_between_intent_and_submission(run: Run) -> None:
    """The CLI dies after the intent was written and before sbatch has answered: exactly one job in the end."""
    change("max-num-seqs: 4", "max-num-seqs: 6")
    slow = '#!/bin/sh\\ntouch /run/lock/submitting; sleep 6; exec /usr/bin/sbatch.real "$@"\\n'
    on("login", f"mv /usr/bin/sbatch /usr/bin/sbatch.real; printf '{slow}' >/usr/bin/sbatch; chmod 755 /usr/bin/sbatch")
    try:
        run.killed_up(
            STACK, lambda: nodes.exec("login", ["test", "-e", "/run/lock/submitting"]).returncode == 0, signal.SIGKILL
        )
        run.up(STACK)
    finally:
        on("login", "mv /usr/bin/sbatch.real /usr/bin/sbatch; rm -f /run/lock/submitting")
    assert len(jobs()) == 1
    log = on("login", f"squeue --noheader --states=all --name=slipway-{STACK} --format='%i %T %k'")
    assert log.count("RUNNING") == 1


def test_an_interrupt_while_waiting(run: Run) -> None:
    """Ctrl-C while it waits for the first token: the state is whole, and the next `up` goes on with the same job."""
    before = jobs()
    change("max-num-seqs: 6", "max-num-seqs: 5")
    run.killed_up(STACK, lambda: another(before), signal.SIGINT)
    submitted = jobs()
    run.up(STACK)
    assert jobs() == submitted


def test_a_kill_during_an_apply(run: Run) -> None:
    """The CLI dies while a cluster stage is being applied: the next `up` is whole again."""
    on("dgx1", "systemctl stop slurmd")
    before = jobs()
    run.killed_up(
        STACK,
        lambda: on("dgx1", "systemctl is-active slurmd", status=None) != "inactive" or _busy("dgx1"),
        signal.SIGKILL,
    )
    run.up(STACK)
    assert on("dgx1", "systemctl is-active slurmd") == "active"
    assert len(jobs()) == 1
    assert before


def _busy(node: str) -> bool:
    return (
        nodes.exec(node, ["sh", "-c", "f=/run/slipway/slipway.lock; [ ! -e $f ] || flock -n $f true"]).returncode != 0
    )


def test_machines_made_anew_are_brought_back(run: Run) -> None:
    """All machines are installed anew under a stack that Pulumi takes for up: one `up`, one job, tokens."""
    nodes.down()
    nodes.up(3)
    run.up(STACK)
    assert len(jobs()) == 1
    assert int(str(run.json("invoke", "smoke", "-s", STACK)["tokens"])) > 0


def test_a_job_that_dies_is_reported_with_its_cause(run: Run) -> None:
    """A taken port: `up` fails at once and says so; the stack is then removed whole."""
    change("max-num-seqs: 5", "max-num-seqs: 3")
    change('slipway:port: "8000"', 'slipway:port: "8123"')
    for node in ("dgx1", "dgx2"):
        listen = 'import socket, time; s = socket.create_server(("", 8123)); time.sleep(600)'
        on(node, f"systemd-run --quiet --unit taken python3 -c '{listen}'")
    try:
        began = time.monotonic()
        shown = run.up(STACK, status=1)
        assert time.monotonic() - began < 120
        assert "port 8123" in shown
        assert "taken" in shown
    finally:
        for node in ("dgx1", "dgx2"):
            on(node, "systemctl stop taken")


def test_teardown_leaves_nothing(run: Run) -> None:
    """`invoke teardown` after a failed `up`: no job, process, file or claim of the stack is left anywhere."""
    shown = run("invoke", "teardown", "-s", STACK, "--yes")
    assert "GPU" in shown
    assert jobs() == []
    for node in ("login", "dgx1", "dgx2"):
        tagged = f"cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c '^SLIPWAY_STACK={STACK}$'"
        assert on(node, tagged, status=None) == "0"
    assert on("login", f"ls -d {JOBS} 2>&1", status=None).endswith("No such file or directory")
    assert STACK not in on("login", "ls -R /storage/.slipway /var/lib/slipway/claims 2>/dev/null", status=None)
    assert on("login", "systemctl is-active slurmctld") == "active"


def test_teardown_says_what_is_left(run: Run) -> None:
    """A process that escaped with the stack's tag makes the teardown fail, and is named."""
    on("dgx2", f"systemd-run --quiet --unit escaped --setenv=SLIPWAY_STACK={STACK} sleep 900")
    try:
        shown = run("invoke", "teardown", "-s", STACK, "--yes", status=1)
        assert "dgx2" in shown
        assert "sleep" in shown
    finally:
        on("dgx2", "systemctl stop escaped")
    run("invoke", "teardown", "-s", STACK, "--yes")
