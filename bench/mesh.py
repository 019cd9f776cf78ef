"""From no keys to a proven mesh on 2, 4 and 8 lab nodes: against the guide's way by hand, which checks nothing.

python -m bench.mesh [--nodes 2 4 8] [--rounds 3]

Ours: `mesh.py keys`, `serve` and `keep` on each node, then `mpirun.py prove` on the first: all pairs, then eight ranks
a node that report where they are. By hand: a key on each node, each key to each other node, an sshd on another port,
host keys taken as they come, then `mpirun hostname`; as fast as a machine types it. Both as the user of the lab's
nodes, with the nodes' own sshd and Open MPI.
"""

import argparse
import json
import shlex
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bench.table import Row, report, spread, timed
from hosts import fleet
from lab import nodes

PROGRAMS = Path(__file__).parents[1] / "hosts/programs"
FOLDER, USER = "/storage/bench-mesh", "ops"
PRIVATE, HAND = "/tmp/slipway.bench.mesh", "/tmp/bench-mesh-by-hand"  # noqa: S108 - on the nodes, and checked there
PORT, HAND_PORT, GPUS = 2253, 2254, 8
PACKAGES = "openmpi-bin openssh-server openssh-client python3"


def do(name: str, script: str, user: str = USER) -> str:
    """What a script says on a node; the bench ends where one fails."""
    done = nodes.exec(name, ["runuser", "-u", user, "--", "bash", "-c", f"set -eu; cd /; {script}"], timeout_s=300)
    if done.returncode != 0:
        raise SystemExit(
            f"{name}: {script[:80]} ended with {done.returncode}: {done.stderr[-600:]}{done.stdout[-300:]}"
        )
    return done.stdout


def each(names: Sequence[str], work: Callable[[str], object]) -> None:
    """On all nodes at once."""
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(work, names))


def prepare(names: Sequence[str]) -> None:
    """Open MPI on the nodes, and our two programs on their storage."""
    install = f"mpirun --version >/dev/null 2>&1 || (apt-get -q update && apt-get -qy install {PACKAGES}) >/dev/null"
    each(names, lambda name: do(name, f"export DEBIAN_FRONTEND=noninteractive; {install}", "root"))
    do(names[0], f"mkdir -p {FOLDER}; chown {USER} {FOLDER}", "root")
    for program in ("mesh.py", "mpirun.py"):
        text = (PROGRAMS / program).read_text(encoding="utf-8")
        done = nodes.exec(names[0], ["tee", f"{FOLDER}/{program}"], text)
        assert done.returncode == 0, done.stderr


def declare(names: Sequence[str], addresses: dict[str, str]) -> None:
    """mesh.json of these nodes."""
    hosts = [{"name": n, "address": addresses[n], "interface": "host0", "gpus": GPUS} for n in names]
    said = {"stack": "bench", "folder": FOLDER, "port": PORT, "user": USER, "hosts": hosts, "enter": {}}
    nodes.exec(names[0], ["tee", f"{FOLDER}/mesh.json"], json.dumps(said))


def ours(names: Sequence[str]) -> str:
    """Keys, sshds, proof; what the proof says."""

    def start(name: str) -> None:
        words = f"{FOLDER}/mesh.json {name} {PRIVATE}"
        line = (
            f"python3 -I {FOLDER}/mesh.py keys {words} && "
            f"{{ python3 -I {FOLDER}/mesh.py serve {words} & echo $! >{PRIVATE}/a.pid; "
            f"python3 -I {FOLDER}/mesh.py keep {words} & echo $! >{PRIVATE}/b.pid; }}"
        )
        do(name, f"nohup bash -c {shlex.quote(line)} >/dev/null 2>&1 </dev/null &")

    each(names, start)
    # the head's own keys are there before its proof can begin
    wait = f"for n in $(seq 600); do [ -e {PRIVATE}/b.pid ] && break; sleep 0.1; done"
    return do(names[0], f"{wait}; python3 -I {FOLDER}/mpirun.py prove {FOLDER}/mesh.json {names[0]} {PRIVATE} 120")


def end_ours(names: Sequence[str]) -> None:
    """Nothing of it is left."""
    each(names, lambda name: do(name, f"kill $(cat {PRIVATE}/a.pid {PRIVATE}/b.pid); rm -rf {PRIVATE} {FOLDER}/mesh"))


def by_hand(names: Sequence[str], addresses: dict[str, str]) -> str:
    """The guide's way; what `mpirun hostname` says."""
    keys = {}
    for name in names:
        keygen = f"mkdir -m 700 {HAND}; for k in host user; do ssh-keygen -q -t ed25519 -N '' -f {HAND}/$k; done"
        config = f"HostKey {HAND}/host\nPidFile {HAND}/pid\nAuthorizedKeysFile {HAND}/authorized\n"
        config += "StrictModes no\nUsePAM no\n"
        sshd = f"printf {shlex.quote(config)} >{HAND}/config; /usr/sbin/sshd -p {HAND_PORT} -f {HAND}/config"
        keys[name] = do(name, f"{keygen}; {sshd}; cat {HAND}/user.pub").strip()
    for name in names:
        for key in keys.values():  # as `ssh-copy-id` does: one login a pair
            do(name, f"echo {shlex.quote(key)} >>{HAND}/authorized")
    known, scanned = f"{HAND}/known", " ".join(addresses[name] for name in names)
    do(names[0], f"ssh-keyscan -p {HAND_PORT} {scanned} >{known} 2>/dev/null")  # believed as the network shows them
    args = f"-p {HAND_PORT} -i {HAND}/user -o UserKnownHostsFile={known} -o LogLevel=ERROR"
    hosts = ",".join(f"{addresses[name]}:{GPUS}" for name in names)
    line = f"mpirun -np {GPUS * len(names)} -H {hosts} -mca plm_rsh_args {shlex.quote(args)} hostname"
    said = do(names[0], f"{line} 2>/dev/null")
    assert len(said.split()) == GPUS * len(names), said
    return said


def end_by_hand(names: Sequence[str]) -> None:
    """Nothing of it is left."""
    each(names, lambda name: do(name, f"kill $(cat {HAND}/pid); rm -rf {HAND}"))


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--names", nargs="+", help="these nodes of a lab that is up, instead of one brought up here")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names = options.names or [f"dgx{n}" for n in range(1, max(options.nodes) + 1)]
    if not options.names:
        nodes.up(max(options.nodes) + 1, say=print)
    found = {node.name: node.address for node in nodes.status()}
    assert fleet.load("lab").login.name in found
    prepare(names)
    rows: list[Row] = []
    for count in options.nodes:
        some = names[:count]
        declare(some, found)
        proven: list[float] = []
        hand: list[float] = []
        for _ in range(options.rounds):  # in turns, so that a busy moment of the machine hits both
            try:
                hand.append(timed(partial(by_hand, some, found)))
            finally:
                end_by_hand(some)
            try:
                proven.append(timed(partial(ours, some)))
            finally:
                end_ours(some)
        rows += [
            {"nodes": count, "what": "from no keys to a proven mesh, all pairs and ranks", "seconds": spread(proven)},
            {
                "nodes": count,
                "what": "the guide by hand, to `mpirun hostname`, nothing checked",
                "seconds": spread(hand),
            },
        ]
    report("mesh", "an SSH mesh for mpirun on the lab's nodes", rows)
    do(names[0], f"rm -rf {FOLDER}", "root")


if __name__ == "__main__":
    try:
        main()
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"{error.cmd[-1]} did not end in {error.timeout:.0f} s") from None
