"""One stage of 14 states on eight lab nodes, nothing to do: against one bare Fabric round trip to the same nodes.

python -m bench.converge [--nodes 8] [--rounds 7]
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from fabric import Connection
from paramiko import RejectPolicy

from bench.table import Row, report, spread, timed
from hosts import fleet
from hosts.converge import Report, converge
from hosts.fleet import Fleet, Host
from hosts.remote import Connections
from hosts.resources import Block, Directory, File, Package, Requirement, Sysctl, Unit, User
from hosts.state import Resource, Stage
from lab import nodes

FOLDER = "/opt/slipway-bench"
SERVICE = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


def states() -> tuple[Resource, ...]:
    """Fourteen resources of all the kinds that a cluster stage has."""
    return (
        Requirement(name="linux", check='[ "$(uname)" = Linux ] && echo ok', wanted="Linux", fix="use Linux"),
        User(name="slipway-bench", uid="64888", home="/nonexistent"),
        Package(names=("hello",)),
        Directory(path=FOLDER),
        *(File(path=f"{FOLDER}/conf{n}", content=f"line {n}\n" * 200) for n in range(5)),
        File(path="/etc/systemd/system/slipway-bench.service", content=SERVICE),
        Unit(name="slipway-bench.service", fingerprint="bench"),
        Sysctl(name="net.core.somaxconn", value="8192"),
        Block(path="/etc/hosts", name="bench", content="192.0.2.9 bench\n"),
        Directory(path=f"{FOLDER}/d", mode="0700"),
    )


def lab_fleet(count: int) -> Fleet:
    """The lab's fleet with `count` nodes."""
    lab = fleet.load("lab")
    node = lab.nodes[0]
    made = (replace(node, name=f"dgx{n}", address=f"10.77.0.{20 + n}") for n in range(1, count + 1))
    return replace(lab, hosts=(lab.login, *made))


def bare(hosts: tuple[Host, ...], identity: str, known_hosts: str) -> None:
    """One Fabric connection and one `true` a host, side by side: the least that any tool over SSH can take."""

    def one(host: Host) -> None:
        with Connection(host.address, user=host.user, connect_kwargs={"key_filename": identity}) as connection:
            connection.client.set_missing_host_key_policy(RejectPolicy())
            connection.client.load_host_keys(known_hosts)
            connection.run("true", hide=True)

    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(one, hosts))


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    nodes.up(options.nodes + 1, say=print)
    lab = lab_fleet(options.nodes)
    stage = Stage(name="bench", hosts={host.name: states() for host in lab.nodes})
    identity, known_hosts = (str(Path(name).expanduser()) for name in (lab.identity, lab.known_hosts))

    def run(*, absent: bool = False) -> Report:
        connect = Connections(lab)
        done = converge(stage, connect, apply=True, absent=absent)
        connect.close()
        done.raise_errors()
        return done

    first = timed(run)
    reports: list[Report] = []
    noop: list[float] = []
    baseline: list[float] = []
    for _ in range(options.rounds):  # in turns, so that a busy moment of the machine hits both
        baseline.append(timed(lambda: bare(lab.nodes, identity, known_hosts)))
        noop.append(timed(lambda: reports.append(run())))
    assert not any(r.changed for r in reports), "the no-op was none"
    outcomes = reports[-1].outcomes
    rows: list[Row] = [
        {"what": f"first converge, {options.nodes} nodes x {len(states())} states", "seconds": f"{first:.2f} s"},
        {"what": "no-op converge, connections opened anew", "seconds": spread(noop)},
        {"what": "bare Fabric: connect and run `true`", "seconds": spread(baseline)},
        {"what": "no-op: trips a host", "seconds": max(o.trips for o in outcomes)},
        {"what": "no-op: bytes sent a host", "seconds": max(o.sent_bytes for o in outcomes)},
        {"what": "no-op: bytes received a host", "seconds": max(o.received_bytes for o in outcomes)},
    ]
    report("converge", "one stage on the lab's nodes", rows)
    run(absent=True)


if __name__ == "__main__":
    main()
