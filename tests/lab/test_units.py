"""SGLang on bare machines, as systemd units: prefill and decode behind the real router, ranks over two nodes; faults.

The servers are stand-ins (lab/stand_in), the router is sglang_router. The tests run in order on the stacks `pdtest` (on
the first four GPUs of its nodes) and `tptest` (on the last four of two of them).
"""

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import nodes
from tests.lab.commands import Run, change, copied, fresh, on, until
from tools.places import STACKS

pytestmark = [pytest.mark.lab, pytest.mark.pulumi, pytest.mark.timeout(900)]

PD, TP = "pdtest", "tptest"
FILES = {name: STACKS / f"Pulumi.{name}.yaml" for name in (PD, TP)}
ROLE = re.compile(r"^  slipway:roles:\n(?:    .*\n)+^  slipway:router.*\n", re.MULTILINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The commands, on a login host and four bare machines, and both stacks' files."""
    with (
        fresh(5, tmp_path_factory.mktemp("units")) as commands,
        copied(
            commands,
            "lab-sglang-pd",
            PD,
            ("{name: systemd}", '{name: systemd, devices: "0-3"}'),
            ("{data: 8, expert: true}", "{data: 4, expert: true}"),
        ),
        copied(
            commands,
            "lab-sglang-pd",
            TP,
            ("{name: systemd}", '{name: systemd, devices: "2-5", nodelist: "dgx1,dgx2"}'),
            ('"8000"', '"8200"'),
        ),
    ):
        text = ROLE.sub("  slipway:parallelism: {data: 8, expert: true}\n", FILES[TP].read_text())
        FILES[TP].write_text(text)
        yield commands


def state(run: Run, stack: str) -> object:
    return run.json("invoke", "status", "-s", stack)["state"]


def tokens(run: Run, stack: str) -> int:
    return int(str(run.json("invoke", "smoke", "-s", stack)["tokens"]))


def pid(node: str, stack: str, name: str) -> str:
    """The main process of a unit, "0" where none runs."""
    return on(node, f"systemctl show -p MainPID --value slipway-{stack}.{name}.service")


def test_prefill_decode_and_router_serve_a_token(run: Run) -> None:
    run.up(PD)
    assert state(run, PD) == "ready"
    assert tokens(run, PD) > 0
    assert "unchanged" in run.up(PD)
    assert "its KV went to" in run("invoke", "logs", "-s", PD)


def test_the_same_gpus_are_claimed_once(run: Run) -> None:
    """A stack that wants some of them is refused before anything is written, and told who holds them."""
    shown = run.up(TP, status=1)
    assert f"gpu-2 is held by the stack {PD}" in shown
    assert "gpu-4" not in shown
    assert on("dgx1", f"ls -d /storage/.slipway/{TP} /var/lib/slipway/claims/gpu-5/{TP} 2>/dev/null", None) == ""


def test_two_stacks_share_nodes_on_disjoint_gpus(run: Run) -> None:
    """Ranks over two nodes beside prefill: each stack has its own GPUs, and both serve."""
    change(FILES[TP], '"2-5"', '"4-7"')
    run.up(TP)
    assert tokens(run, TP) > 0
    assert tokens(run, PD) > 0
    seen = on("dgx1", f"tr '\\0' '\\n' </proc/{pid('dgx1', TP, 'rank-0')}/environ | grep CUDA_VISIBLE")
    assert seen == "CUDA_VISIBLE_DEVICES=4,5,6,7"


def test_roles_scale_by_one_number_and_only_what_changed_restarts(run: Run) -> None:
    before = {it: pid(*it) for it in (("dgx1", PD, "rank-prefill-0-0"), ("dgx4", PD, "rank-decode-0-0"))}
    router = pid("dgx1", PD, "router")
    change(FILES[PD], "      nodes: 1\n", "      nodes: 1\n      replicas: 2\n")
    run.up(PD)
    assert {it: pid(*it) for it in before} == before
    assert pid("dgx1", PD, "router") != router
    assert {pid("dgx2", PD, "rank-prefill-1-0"), pid("dgx3", PD, "rank-decode-1-0")}.isdisjoint({"0", ""})
    assert tokens(run, PD) > 0


def asked(key: str) -> int:
    """The status of one completion, from this machine."""
    body = json.dumps({"model": "tiny-kimi-k2", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection("10.77.0.21", 8000, timeout=90)) as connection:
        connection.request("POST", "/v1/chat/completions", body, headers)
        return connection.getresponse().status


def test_a_dead_decode_is_left_out_and_brought_back_by_up(run: Run) -> None:
    """Requests in flight are sent to the other one; the router's health checks take it out, and then none is slow.

    The next `up` starts it alone.
    """
    router, key = pid("dgx1", PD, "router"), on("login", f"cat /storage/.slipway/{PD}/api-key")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(asked, key) for _ in range(40)]
        on("dgx4", f"systemctl kill -s KILL slipway-{PD}.rank-decode-0-0.service")
        assert {answer.result() for answer in answers} == {200}
    on("dgx4", f"systemctl stop slipway-{PD}.rank-decode-0-0.service")  # it would come back once
    assert until(lambda: state(run, PD) == "degraded", 15) < 15
    until(lambda: float(str(run.json("invoke", "smoke", "-s", PD)["seconds"])) < 1, 30)
    for _ in range(4):
        assert float(str(run.json("invoke", "smoke", "-s", PD)["seconds"])) < 1
    run.up(PD)
    assert state(run, PD) == "ready"
    assert pid("dgx1", PD, "router") == router


def test_a_killed_rank_ends_the_others_and_all_come_back_once(run: Run) -> None:
    """kill -9 of the second node's rank: the first says which one was lost; systemd starts both once more."""
    first = pid("dgx1", TP, "rank-0")
    on("dgx2", f"systemctl kill -s KILL slipway-{TP}.rank-1.service")
    until(lambda: pid("dgx1", TP, "rank-0") not in (first, "0"), 30)
    until(lambda: state(run, TP) == "ready", 60)
    assert "rank 1" in on("dgx1", f"grep 'was lost' /storage/.slipway/{TP}/dgx1/rank-0.log.1")
    assert tokens(run, TP) > 0


def test_a_cut_of_half_a_minute_is_survived(run: Run) -> None:
    ranks = [pid("dgx1", TP, "rank-0"), pid("dgx2", TP, "rank-1")]
    nodes.cut("dgx2")
    try:
        until(lambda: state(run, TP) == "degraded", 50)
    finally:
        nodes.heal("dgx2")
    until(lambda: state(run, TP) == "ready", 60)
    assert [pid("dgx1", TP, "rank-0"), pid("dgx2", TP, "rank-1")] == ranks


def test_a_head_that_is_rebooted_serves_again_by_itself(run: Run) -> None:
    """The machine with router, gateway and the first ranks restarts: units come back, and the workers with them."""
    on("dgx2", f"systemctl reset-failed slipway-{TP}.rank-1.service")  # it came back once a minute ago
    nodes.reboot("dgx1")
    until(lambda: state(run, PD) == "ready", 90)
    until(lambda: state(run, TP) == "ready", 90)
    assert tokens(run, PD) > 0
    assert tokens(run, TP) > 0
    assert "unchanged" in run.up(PD)


def test_a_taken_port_is_named(run: Run) -> None:
    listen = 'import socket, time; s = socket.create_server(("", 8300)); time.sleep(600)'
    on("dgx1", f"systemd-run --quiet --unit taken python3 -c '{listen}'")
    change(FILES[TP], '"8200"', '"8300"')
    try:
        shown = run.up(TP, status=1)
        assert "port 8300 of dgx1 is taken" in shown
    finally:
        on("dgx1", "systemctl stop taken")
    run.up(TP)
    assert tokens(run, TP) > 0


def test_the_endpoint_speaks_tls_on_the_interface_that_it_names(run: Run) -> None:
    """With a certificate on storage: https at one address, who asks in the clear is told, and loopback is closed."""
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=slipway -keyout key.pem -out cert.pem"
    on(
        "login",
        f"command -v openssl >/dev/null && cd /storage && {make} 2>/dev/null && chown ops key.pem && chmod 600 key.pem",
    )
    tls = "tls: {certificate: /storage/cert.pem, key: /storage/key.pem}"
    change(FILES[TP], "  slipway:port:", f"  slipway:endpoint: {{interface: host0, {tls}}}\n  slipway:port:")
    try:
        assert "https://10.77.0.21:8300" in run.up(TP)
        assert tokens(run, TP) > 0
        assert on("dgx1", "ss -Hltn 'sport = :8300' | awk '{print $4}'") == "10.77.0.21:8300"
    finally:
        on("login", "rm -f /storage/cert.pem /storage/key.pem")


@pytest.mark.parametrize("stack", [TP, PD])
def test_teardown_leaves_nothing(run: Run, stack: str) -> None:
    shown = run("invoke", "teardown", "-s", stack, "--yes")
    assert f"nothing of {stack} is left" in shown
    for node in ("dgx1", "dgx2", "dgx3", "dgx4"):
        left = f"ls -d /tmp/slipway.{stack}.* /run/slipway.{stack} "
        left += f"/etc/systemd/system/slipway-{stack}.* /var/lib/slipway/claims/*/{stack}"
        assert on(node, f"{left} 2>/dev/null", None) == ""
