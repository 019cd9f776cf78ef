"""Open MPI's mpirun over a stack's mesh: proves the placement, runs the engine, and says which rank died of what.

prove CONF HOST PRIVATE [TIMEOUT_S]
    all pairs of nodes, then one process a GPU that reports where it is; exits 1 with what differs from CONF
run CONF HOST PRIVATE [-x NAME ...] -- COMMAND...
    the same proof, then COMMAND once a GPU, with the named variables of this process; leaves no process on any node
argv CONF HOST PRIVATE MAJOR [-x NAME ...] -- COMMAND...
    prints the line of Open MPI 4 or 5, for a person
report CONF, inside PRIVATE -- COMMAND..., sweep STACK RUN
    what `prove` and `run` start in the containers

CONF and PRIVATE are those of mesh.py, which lies beside this file. HOST is the first of CONF's hosts.

Standard library of Python 3.10 only.
"""

from __future__ import annotations

import collections
import concurrent.futures
import ipaddress
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hosts.programs import mesh

    Line = Callable[[int | None, str], None]
    """Takes a line and its rank; none where mpirun itself speaks."""
else:
    # beside this file: `python -I` finds nothing there by itself; the folder may be read-only, so no bytecode
    sys.dont_write_bytecode = True
    spec = spec_from_file_location("slipway_mesh", os.path.join(os.path.dirname(os.path.abspath(__file__)), "mesh.py"))
    mesh = module_from_spec(spec)
    spec.loader.exec_module(mesh)

HERE = os.path.abspath(__file__)
LAST_LINES = 8
LINE_BYTES = 1 << 16
MAX_SKEW_S = 2.0
REPORT_TIMEOUT_S, SWEEP_TIMEOUT_S, VERSION_TIMEOUT_S = 60.0, 30.0, 30.0
END_PATIENCE_S = 3.0
TIMED_OUT = 124
LEAKED = re.compile(r"(?:SLURM|SLURMD|SBATCH|SRUN|PMI|PMI2)_")
"""Not PMIX_, which Open MPI itself gives its ranks."""
FOREIGN = re.compile(r"(?:SLURM|SLURMD|SBATCH|SRUN|PMI|PMI2|PMIX|OMPI_COMM|PRTE)_")
"""What mpirun itself would believe, were it started in another launcher's job."""
TAG = re.compile(r"\[(?:[^\]@]*@)?\d+,(\d+)\]<std(?:out|err|diag)>: ?(.*)")
SIGNAL = re.compile(r"process rank (\d+) with PID \d+ on\s+node (\S+) exited on\s+signal (\d+)(?: \(([^)]*)\))?")
STATUS = re.compile(r"Process name: \[\S*,(\d+)\]\s+Exit code:\s+(\d+)")
ABORT = re.compile(r"MPI_ABORT was invoked on rank (\d+)")
LOST = re.compile(r"Remote daemon: *\S+ on node (\S+)")
ABSENT = re.compile(r"Node: +(\S+)\s+Executable: +(\S+)")


class Report(NamedTuple):
    """What one rank said of itself; `heard` is this node's clock when it was heard."""

    rank: int
    local_rank: int
    host: str
    source: str
    interface: str
    clock: float
    leaked: tuple[str, ...]
    stack: str
    heard: float


# ---- the line


def major(said: str) -> int:
    """4 or 5, of `mpirun --version`; raises Wrong."""
    found = re.search(r"\(Open MPI\) (\d+)\.", said)
    if not found or int(found[1]) not in (4, 5):
        what = said.strip().splitlines()[0] if said.strip() else "nothing"
        raise mesh.Wrong(f"`mpirun --version` says {what!r}; wanted Open MPI 4 or 5: use an image that has it")
    return int(found[1])


def network(nodes: Sequence[mesh.Node]) -> str:
    """The interface, where all nodes call it the same, else the least network that has all their addresses."""
    names = {node.interface for node in nodes}
    if len(names) == 1:
        return names.pop()
    addresses = [ipaddress.IPv4Address(node.address) for node in nodes]
    wide = ipaddress.IPv4Network((addresses[0], 32))
    while not all(address in wide for address in addresses):
        wide = wide.supernet()
    return str(wide)


def compose(m: mesh.Mesh, private: str, version: int, names: Iterable[str], command: Sequence[str]) -> list[str]:
    """mpirun's argv: the guide's line, over this mesh and nothing else, one rank a GPU in the order of the hosts."""
    hosts = ",".join(f"{node.address}:{node.gpus}" for node in m.nodes)
    words = ["mpirun", "-np", str(size(m)), "-H", hosts]
    ssh, way = f"-p {m.port} -F {private}/ssh_config", network(m.nodes)
    # `plm` and `ras` keep it from starting its daemons through a scheduler that it finds; each family has its own names
    if version == 4:
        words += ["-mca", "plm_rsh_args", ssh, "-mca", "plm", "rsh", "-mca", "ras", "^slurm"]
        words += ["-mca", "plm_rsh_no_tree_spawn", "1"]  # another node's ssh_config lies in another folder
        words += ["-mca", "oob_tcp_if_include", way, "-mca", "btl_tcp_if_include", way, "--tag-output"]
    else:
        words += ["--prtemca", "plm_ssh_args", ssh, "--prtemca", "plm", "ssh", "--prtemca", "ras", "^slurm"]
        words += ["--prtemca", "plm_ssh_no_tree_spawn", "1"]
        words += ["--prtemca", "prte_if_include", way, "--mca", "btl_tcp_if_include", way, "--output", "tag"]
    words += ["--map-by", "slot", "--bind-to", "none"]
    words += ["--allow-run-as-root"] if m.user == "root" else []
    for name in sorted({"SLIPWAY_STACK", "SLIPWAY_MESH_RUN", *names}):
        words += ["-x", name]
    return [*words, *command]


# ---- in the containers


def report(m: mesh.Mesh, env: Mapping[str, str]) -> str:
    """One rank's word, a line of JSON."""
    here = {address: name for name, address in mesh.interfaces()}
    name = next((node.name for node in m.nodes if node.address in here), "")
    # the way to the first host; of that host itself, the way to the next
    other = next((node for node in m.nodes if node.name != name), m.nodes[0])
    source = mesh.source_towards(other.address)
    said = Report(
        rank=int(env.get("OMPI_COMM_WORLD_RANK", "-1")),
        local_rank=int(env.get("OMPI_COMM_WORLD_LOCAL_RANK", "-1")),
        host=name,
        source=source,
        interface=mesh.interface_of(source) or "",
        clock=time.time(),
        leaked=tuple(sorted(filter(LEAKED.match, env))),
        stack=env.get("SLIPWAY_STACK", ""),
        heard=0.0,
    )
    return json.dumps({"slipway": said._asdict()})


def inside(private: str, command: Sequence[str]) -> None:
    """Becomes a command, with the variables that `run` left in a file: none of their values is in any argv."""
    path = f"{private}/run.json"
    given = json.loads(mesh.read(path))
    os.remove(path)
    env = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)} | given
    os.execvpe(command[0], list(command), env)  # noqa: S606


def environment_of(pid: int) -> set[str]:
    try:
        with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as file:
            return set(file.read().split("\0"))
    except OSError:
        return set()


def left(stack: str, run: str) -> dict[int, str]:
    """Processes of a run, or any daemon of Open MPI of this stack, by id: their names."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        env = environment_of(int(entry))
        try:
            with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
        except OSError:
            continue
        daemon = name.startswith(("orted", "prted")) and f"SLIPWAY_STACK={stack}" in env
        if daemon or f"SLIPWAY_MESH_RUN={run}" in env:
            found[int(entry)] = name
    return found


def sweep(stack: str, run: str) -> str:
    """Ends what is left of a run on this node, gently and then not; what it had to end, and what it could not."""
    first = found = left(stack, run)
    for number, patience_s in ((signal.SIGTERM, END_PATIENCE_S), (signal.SIGKILL, END_PATIENCE_S)):
        for pid in found:
            try:
                os.kill(pid, number)
            except OSError:
                continue
        end = time.monotonic() + patience_s
        while found and time.monotonic() < end:
            time.sleep(0.1)
            found = left(stack, run)
    return json.dumps({"ended": [f"{name} ({pid})" for pid, name in first.items()], "left": sorted(found.values())})


# ---- on the first host


class Run:
    """One mpirun, from its start to the last process of it on any node."""

    def __init__(self, m: mesh.Mesh, conf: str, host: str, private: str) -> None:
        self.mesh, self.conf, self.host, self.private = m, os.path.abspath(conf), host, private
        self.enter = [*m.enter.get(host, ())]
        self.id = secrets.token_hex(8)
        self.own: collections.deque[str] = collections.deque(maxlen=60)
        self.last: dict[int, collections.deque[str]] = {}
        self.began = 0.0

    def program(self, *words: str) -> list[str]:
        """This program, in a container."""
        return ["python3", "-I", HERE, *words]

    def version(self) -> int:
        """Of the mpirun in the container of this host."""
        command = [*self.enter, "mpirun", "--version"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise mesh.Wrong(
                f"`{shlex.join(command)}` on {self.host}: {error}; use an image with Open MPI in it"
            ) from None
        return major(done.stdout if done.returncode == 0 else done.stderr)

    def mpirun(self, env: Mapping[str, str], command: Sequence[str], line: Line, timeout_s: float | None = None) -> int:
        """Runs it and passes each line on; its exit status. Ends what is left on all nodes, whatever happens."""
        given = {**env, "SLIPWAY_STACK": self.mesh.stack, "SLIPWAY_MESH_RUN": self.id}
        argv = compose(self.mesh, self.private, self.version(), env, command)
        mesh.write(f"{self.private}/run.json", json.dumps(given))
        self.began = time.monotonic()
        process = subprocess.Popen(
            [*self.enter, *self.program("inside", self.private, "--", *argv)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        relay = threading.Thread(target=self.relay, args=(process, line), daemon=True)
        relay.start()
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = TIMED_OUT
        finally:
            self.sweep()
            process.kill()
            # a process that escaped may hold the pipe
            relay.join(2)
        return status if status >= 0 else 128 - status

    def relay(self, process: subprocess.Popen[bytes], line: Line) -> None:
        assert process.stdout is not None
        while data := process.stdout.readline(LINE_BYTES):
            text = data.decode("utf-8", "replace").rstrip("\r\n")
            found = TAG.match(text)
            rank, words = (int(found[1]), found[2]) if found else (None, text)
            (self.own if rank is None else self.last.setdefault(rank, collections.deque(maxlen=LAST_LINES))).append(
                words
            )
            line(rank, words)

    def sweep(self) -> None:
        """Ends what is left, on all nodes at once, and says what that was."""

        def one(node: mesh.Node) -> str:
            words = self.program("sweep", self.mesh.stack, self.id)
            if node.name != self.host:
                words = ["ssh", "-F", f"{self.private}/ssh_config", node.address, shlex.join(words)]
            try:
                done = subprocess.run(
                    [*self.enter, *words], capture_output=True, text=True, timeout=SWEEP_TIMEOUT_S, check=False
                )
                said = json.loads(done.stdout)
            except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                return f"{node.name} can't be swept: {type(error).__name__}; what owns its processes ends them"
            ended = f"{node.name}: ended {', '.join(said['ended'])}" if said["ended"] else ""
            return ended + (f"; still there: {', '.join(said['left'])}" if said["left"] else "")

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for text in filter(None, pool.map(one, self.mesh.nodes)):
                print(f"slipway: {mesh.plain(text)}", flush=True)

    def death(self, status: int) -> str:
        """Which rank died of what, and its last lines; what mpirun said where it names none."""
        took = time.monotonic() - self.began
        rank, how = died("\n".join(self.own))
        if rank is None:
            lines = [text for text in self.own if text.strip() and set(text) != {"-"}][-LAST_LINES:]
            for node in self.mesh.nodes:
                how = how.replace(node.address, node.name)
            return "\n  ".join([f"mpirun ended with status {status} after {took:.0f} s{how}; it said:", *lines])
        host, local = place(self.mesh, rank)
        lines = list(self.last.get(rank, ["(nothing)"]))
        who = f"rank {rank} on {host} (local rank {local})"
        what = f"{who} {how} after {took:.0f} s; all ranks were ended. Its last lines:"
        return "\n  ".join([what, *lines])


def died(said: str) -> tuple[int | None, str]:
    """The first rank that mpirun names, and what became of it."""
    if found := SIGNAL.search(said):
        return int(found[1]), f"died by signal {found[3]} ({found[4] or 'unnamed'})"
    if found := ABORT.search(said):
        return int(found[1]), "called MPI_Abort"
    if found := STATUS.search(said):
        return int(found[1]), f"ended with status {found[2]}"
    if found := LOST.search(said):
        return None, f": its daemon on {found[1]} is gone (killed, or the node or its network is down)"
    if found := ABSENT.search(said):
        return None, f": {found[1]} has no program {found[2]}"
    return None, ""


def place(m: mesh.Mesh, rank: int) -> tuple[str, int]:
    """(host, local rank) of a rank by the placement."""
    for node in m.nodes:
        if rank < node.gpus:
            return node.name, rank
        rank -= node.gpus
    return "no host", rank


def check(m: mesh.Mesh, reports: Sequence[Report]) -> list[str]:
    """Where the ranks differ from the placement; each with its host, and the pair where the way is wrong."""
    wrong, first = [], m.nodes[0]
    found = {said.rank: said for said in reports}
    for rank in range(size(m)):
        host, local = place(m, rank)
        node, said = m.node(host), found.get(rank)
        if said is None:
            wrong.append(f"rank {rank} on {host} has not reported")
            continue
        if (said.host, said.local_rank) != (host, local):
            where = f"{said.host or 'a host that is not declared'} with local rank {said.local_rank}"
            wrong.append(f"rank {rank} is on {where}; wanted {host} with local rank {local}")
            continue
        other = first if node is not first else m.nodes[-1]
        if (said.source, said.interface) != (node.address, node.interface):
            wrong.append(
                f"{host} -> {other.name}: wrong interface: rank {rank} uses {said.interface} ({said.source}), "
                f"declared is {node.interface} ({node.address}); correct the route or the inventory"
            )
        skew = said.clock - said.heard
        if abs(skew) > MAX_SKEW_S:
            wrong.append(
                f"{host} -> {first.name}: the clock of {host} is {abs(skew):.1f} s "
                f"{'ahead' if skew > 0 else 'behind'}; wanted under {MAX_SKEW_S:.0f} s: see to its time synchronisation"
            )
        if said.leaked:
            wrong.append(
                f"rank {rank} on {host} sees {', '.join(said.leaked)}: the engine would believe another launcher; "
                "remove them from the image's or the stack's environment"
            )
        if said.stack != m.stack:
            wrong.append(f"rank {rank} on {host} has SLIPWAY_STACK={said.stack!r}; wanted {m.stack!r}")
    return wrong


def one_a_host(wrong: Sequence[str]) -> list[str]:
    """The same fault of all ranks of a host, said once."""
    seen: dict[str, tuple[str, int]] = {}
    for text in wrong:
        shape = re.sub(r"rank \d+", "rank", re.sub(r"\d+\.\d s", "s", text))
        seen[shape] = (seen.get(shape, (text, 0))[0], seen.get(shape, (text, 0))[1] + 1)
    return [text + (f" (and {n - 1} more of its ranks)" if n > 1 else "") for text, n in seen.values()]


def heard(text: str) -> Report | None:
    """A rank's line, where it is a report."""
    try:
        said = json.loads(text)["slipway"]
        return Report(**{**said, "leaked": tuple(said["leaked"]), "heard": time.time()})
    except (ValueError, KeyError, TypeError):
        return None


def size(m: mesh.Mesh) -> int:
    """The number of ranks."""
    return sum(node.gpus for node in m.nodes)


def prove(work: Run, env: Mapping[str, str], timeout_s: float = mesh.PAIRS_TIMEOUT_S) -> None:
    """All pairs, then a report of every rank with the engine's variables; raises Wrong with what differs."""
    began, m = time.monotonic(), work.mesh
    bad = mesh.pairs(m, timeout_s)
    if bad:
        raise mesh.Wrong("\n  ".join([f"the mesh of {m.stack} is not whole:", *bad]))
    took = time.monotonic() - began
    print(f"slipway: mesh: all {mesh.count(m)} pairs are proven ({took:.1f} s)", flush=True)
    reports: list[Report] = []

    def line(rank: int | None, text: str) -> None:
        if rank is not None and (said := heard(text)):
            reports.append(said)

    status = work.mpirun(env, work.program("report", work.conf), line, REPORT_TIMEOUT_S)
    if status == TIMED_OUT:
        missing = [f"rank {n} on {place(m, n)[0]}" for n in range(size(m)) if n not in {said.rank for said in reports}]
        raise mesh.Wrong(
            f"the mesh is whole, but mpirun over it had not ended after {REPORT_TIMEOUT_S:.0f} s; without a report: "
            f"{', '.join(missing) or 'none'}; does a firewall stop TCP between the nodes on high ports?"
        )
    if status != 0:
        raise mesh.Wrong(f"the mesh is whole, but mpirun over it failed: {work.death(status)}")
    wrong = check(m, reports)
    if wrong:
        raise mesh.Wrong("\n  ".join([f"the ranks of {m.stack} are not as declared:", *one_a_host(wrong)]))
    skew = max(abs(said.clock - said.heard) for said in reports)
    what = f"{len(reports)} ranks report as placed, clocks within {skew:.2f} s"
    print(f"slipway: mesh: {what} ({time.monotonic() - began:.1f} s in all)", flush=True)


def run(work: Run, names: Sequence[str], command: Sequence[str]) -> None:
    """Proves, then runs the engine; raises Wrong with the rank that died."""
    unset = [name for name in names if name not in os.environ]
    if unset:
        raise mesh.Wrong(f"-x {', '.join(unset)}: not in this environment; export it before")
    env = {name: os.environ[name] for name in names}
    prove(Run(work.mesh, work.conf, work.host, work.private), env)
    status = work.mpirun(env, command, show)
    if status != 0:
        raise mesh.Wrong(work.death(status))


def show(rank: int | None, text: str) -> None:
    """A line of the engine with its rank before it."""
    print(text if rank is None else f"[{rank}] {text}", flush=True)


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names behind `-x`, and the command behind `--`."""
    before = list(words[: words.index("--")])
    if before[::2] != ["-x"] * (len(before) // 2) or len(before) % 2:
        raise mesh.Wrong(f"found {shlex.join(before)}; wanted `-x NAME` for each variable, then `--` and the command")
    return before[1::2], list(words[words.index("--") + 1 :])


def stop(number: int, _frame: object) -> None:
    """A signal ends the run as an exit does: what is left on the nodes is ended first."""
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main(argv: Sequence[str]) -> None:
    """By the mode; exits 1 with what is wrong."""
    mode, first, *rest = argv
    try:
        if mode == "inside":
            inside(first, rest[1:])
        if mode == "sweep":
            print(sweep(first, rest[0]))
            return
        m = mesh.load(first)
        if mode == "report":
            print(report(m, os.environ), flush=True)
            return
        host, private, *more = rest
        if mode == "argv":
            names, command = split(more[1:])
            print(shlex.join(compose(m, private, int(more[0]), names, command)))
            return
        if host != m.nodes[0].name:
            raise mesh.Wrong(f"{host} is not the first host of {first}; start it on {m.nodes[0].name}")
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, stop)
        if mode == "prove":
            prove(Run(m, first, host, private), {}, *map(float, more))
        elif mode == "run":
            run(Run(m, first, host, private), *split(more))
    except (mesh.Wrong, OSError) as error:
        sys.exit(f"slipway: error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
