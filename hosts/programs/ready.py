"""Asks a served model for a token, and waits for one while it tells the phase; runs on the login host.

probe|wait SERVED TIMEOUT_S QUEUE
    SERVED is the JSON of a `Served`, QUEUE shell that prints the stack's jobs; `probe` prints `ready URL JOB [FABRIC]`,
    `not ready: WHY` or `unknown: WHY`
self SERVED TIMEOUT_S
    inside the job: asks the server (on loopback, where SERVED names no address) and writes FOLDER/ready.json

Standard library of Python 3.10 only; sent by `hosts.resources.endpoint`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from hosts.programs.client import connected, post, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PROGRESS = "\x1f"
POLL_S = 1.0
QUEUED_POLL_S, QUEUED_POLL_GROWTH = 30.0, 1.5
"""The longest delay between two looks at a queued job, and by which factor it grows from POLL_S to that."""
SHOW_S = 10.0
PROBE_TIMEOUT_S, WAIT_TIMEOUT_S = 20, 60
NODE_PATIENCE_S = 60
RESTART_S = 8
"""A unit that ended this long ago is not coming back: systemd starts it once more after three seconds."""
LOG_TAIL_BYTES = 4 << 20
LOG_HEAD_BYTES = 8 << 20
"""Where engines have opened all their communicators: before they load weights."""
PHASES = (
    (re.compile(r"^slipway: (.+)"), "{}"),
    (re.compile(r"Starting to load model|Initializing a V1 LLM engine"), "loading the engine"),
    (re.compile(r"[Ll]oading (?:[\w-]+ )*shards:\s+(\d+)%"), "loading weights {} %"),
    (re.compile(r"Loading weights took ([\d.]+)"), "weights loaded in {} s"),
    (
        re.compile(
            r"KV cache size: |torch\.compile took|for vLLM's torch\.compile|Compiling a graph|Warming up"
            r"|Capturing CUDA graphs|init engine"
        ),
        "warming up",
    ),
    (re.compile(r"Application startup complete"), "waiting for the first token"),
)
HEADER = re.compile(
    r"^(?:\([\w.-]+/[\w.-]+\) )?(?:\[\d+,\d+\]<std(?:out|err)>: ?)?(?P<rank>(?:\((?:[^()]* )?pid=\d+[^()]*\) ?)*)"
    r"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[[^]]*\] ?)?(?P<text>.*)"
)
"""What vLLM 0.19 puts before each line of its log: process and, where it is a message, its level, time and place.
Before that may stand the host and process of a job of many (`(dgx1/rank-0) `), and the rank as mpirun tags it."""
NCCL = re.compile(
    r"(?:^|[^\w.-])(?P<host>[\w-]+):\d+:\d+ \[-?\d+\] NCCL INFO "
    r"(?:Using network (?P<network>.+?)|NET/IB : Using(?P<opened>.*?)(?:;.*)?)(?: \[repeated .*)?\s*$"
)
"""What NCCL 2.18 to 2.32 say of the transport between nodes with NCCL_DEBUG=INFO (src/init.cc, src/transport/net_ib),
after what engines and Ray put before a line, and before Ray's count of such lines."""
OPENED = re.compile(r"\[\d+\] ?([\w-]+):\d+/(?:IB|RoCE)")
"""One HCA of such a line: `[0]mlx5_0:1/IB`, or one of several that act as one, `[0]={[0] mlx5_0:1/IB, [1] …}`."""
UNREAD = "unread"
UNFIT = "it gives tokens, but not by the fabric that the fleet's file declares:"
FABRIC_FIX = (
    "look on these hosts at /sys/class/infiniband/*/ports/1/state, for /dev/infiniband (in the container too) and at"
    " `ulimit -l`, then start the stack anew; or correct hcas in the fleet's file; to do without, set NCCL_NET: Socket"
    " in the stack's engine.env"
)
FATAL = re.compile(r"^Traceback \(most recent|^slipway: error|^weights: |^[\w./-]+: error: |out of memory|\bKilled\b")
CHAINED = re.compile(r"^Traceback |^During handling of |^The above exception ")
SCREEN_CHARACTERS = 600
"""A message may carry all names of a model's weights."""
NO_TOKEN = (OSError, ValueError, KeyError, TypeError, http.client.HTTPException)
"""What `ask` raises where there is no completion: nobody listens, or what answers is no such server."""


class Served(NamedTuple):
    """What a stack serves: its job's folder and port, the model's name in requests, the file of the key.

    `address` is where it is asked ("": the node that its job's script runs on), `certificate` what it must show ("":
    plain HTTP). `units` are its processes, `HOST/NAME`, where systemd owns them and no SLURM job. `fabric` is
    `HOST=HCA,HCA` of each node whose NCCL must speak InfiniBand or RoCE: by these HCAs, or by any where none is named;
    HOST is "" where a scheduler chose it. `queue` is the shell of `hosts.resources.slurm_job.queue`, which prints the
    jobs that are this stack's, and no other's.
    """

    stack: str
    folder: str
    port: str
    model: str
    key_file: str
    address: str = ""
    certificate: str = ""
    units: Sequence[str] = ()
    fabric: Sequence[str] = ()
    queue: str = ""

    def url(self, node: str) -> str:
        """Where it is asked, its job's script on `node`."""
        host = self.address or node
        return f"http{'s' if self.certificate else ''}://{f'[{host}]' if ':' in host else host}:{self.port}"


class Job(NamedTuple):
    """A row of squeue; `node` is the one that its script runs on."""

    id: str
    state: str
    node: str
    reason: str


def ask(url: str, served: Served, timeout_s: float) -> int:
    """The number of tokens of one short completion. Raises one of NO_TOKEN with the reason."""
    body = {"model": served.model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
    connection = connected(url, served.folder, timeout_s)
    try:
        status, answer = post(connection, text_of(served.key_file), body)
    finally:
        connection.close()
    if status != 200:
        said = answer[:300].decode("utf-8", "replace")
        if status == 502 and "engine_unavailable" in said:
            raise ConnectionRefusedError("its gateway answers, the engine does not yet")
        raise ValueError(f"HTTP {status}: {said}")
    tokens = int(json.loads(answer)["usage"]["completion_tokens"])
    if tokens < 1:
        raise ValueError("the completion has no token in it")
    return tokens


def jobs(served: Served) -> list[Job]:
    """The stack's jobs, live ones first and then newest first. Raises OSError where squeue fails."""
    done = subprocess.run(["bash", "-c", served.queue], capture_output=True, text=True, timeout=30, check=False)
    rows = [line.partition(" ")[2].split("|", 9) for line in done.stdout.splitlines() if line.startswith("job ")]
    if done.returncode != 0:
        raise OSError(f"squeue {' '.join((done.stdout + done.stderr).split())[:SCREEN_CHARACTERS] or 'failed'}")
    return sorted(
        (Job(id=row[0], state=row[1], node=row[2], reason=row[9]) for row in rows if len(row) == 10),
        key=lambda job: (job.state in ("RUNNING", "PENDING", "CONFIGURING"), int(job.id)),
        reverse=True,
    )


def log_of(folder: str, job: str) -> list[str]:
    """The last lines of a job's log, or of a unit's by HOST/NAME; none where there is none.

    A progress bar's states are lines of their own.
    """
    try:
        with open(f"{folder}/{job}.log" if "/" in job else f"{folder}/job-{job}.out", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    except OSError:
        return []


def head_of(folder: str, job: str) -> list[str]:
    """The first lines of such a log."""
    try:
        with open(f"{folder}/{job}.log" if "/" in job else f"{folder}/job-{job}.out", "rb") as file:
            return file.read(LOG_HEAD_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def phase_of(lines: Sequence[str]) -> str:
    """How far the start has come, by the last line that tells."""
    phase = "starting"
    for line in lines:
        for pattern, text in PHASES:
            found = pattern.search(line)
            if found:
                phase = text.format(*found.groups())
    return phase


def cause_of(lines: Sequence[str]) -> list[str]:
    """The reason of the first failure of any rank, then the log's end; long lines are cut."""
    if not lines:
        return ["its log is empty"]
    reason = reason_of(lines)
    end = lines[-5:] if reason else lines[-8:]
    return [line[:SCREEN_CHARACTERS] for line in (*reason, "the log ends:", *end)]


def reason_of(lines: Sequence[str]) -> list[str]:
    """The exception of the first traceback, or the first line that says error; none where nothing does."""
    rows = [HEADER.match(line) for line in lines]
    said = [(row["rank"], row["level"], row["text"]) for row in rows if row]
    said = [row for row in said if row[1] not in ("DEBUG", "INFO", "WARNING")]
    fatal = next((n for n, (_, _, text) in enumerate(said) if FATAL.search(text)), None)
    if fatal is None:
        return [text for _, level, text in said if level in ("ERROR", "CRITICAL")][:3]
    block = [text for rank, level, text in said[fatal:] if (rank, level) == said[fatal][:2]]
    if not block[0].startswith("Traceback"):
        return block[:1]
    # the frames are indented, the exception is not
    start = next((n for n, text in enumerate(block) if n and text and not text[0].isspace()), 0)
    rest = block[start : start + 3]
    end = next((n for n, text in enumerate(rest) if n and (not text.strip() or CHAINED.search(text))), len(rest))
    return rest[:end]


def self_reported(folder: str, job: str) -> bool:
    """Whether the job itself got a token."""
    try:
        with open(f"{folder}/ready.json", encoding="utf-8") as file:
            return bool(json.load(file).get("job") == job)
    except (OSError, ValueError):
        return False


def ended(served: Served) -> tuple[str, str]:
    """(unit, how) of a unit that ended and was not started again, the one that ended first; ("", "") if none."""
    found: list[tuple[float, str, str]] = []
    for unit in served.units:
        try:
            with open(f"{served.folder}/{unit}.ended", encoding="utf-8") as file:
                result, status, at = file.read().split()[-3:]
        except (OSError, ValueError):
            continue
        if time.time() - float(at) > RESTART_S:
            found.append((float(at), unit, f"{result}, status {status}"))
    _, unit, how = min(found, default=(0.0, "", ""))
    return unit, how


def look_at_units(served: Served, timeout_s: float) -> tuple[str, str, str]:
    """What `look` says, of processes that systemd owns; the job is the name of the one that says most."""
    url = served.url("")
    try:
        ask(url, served, timeout_s)
    except NO_TOKEN as error:
        unit, how = ended(served)
        if unit:
            return "dead", f"{unit} ended ({how})", unit
        for unit in reversed(served.units):  # what serves stands after what it needs
            phase = phase_of(log_of(served.folder, unit))
            if phase != "starting":
                return "waiting", f"{unit}: {phase}", unit
        said = f"answers {error}" if isinstance(error, ValueError) else "starting"
        return "waiting", f"{served.address}: {said}", served.units[-1]
    return "ready", f"{url} {served.units[-1]}", served.units[-1]


class Transport(NamedTuple):
    """What NCCL says that one host uses: its networks, and the HCAs that it opened."""

    networks: set[str]
    hcas: set[str]


def transports(lines: Sequence[str]) -> dict[str, Transport]:
    """What NCCL uses by host, of the lines that it prints with NCCL_DEBUG=INFO.

    `NET/IB : Using` alone proves nothing: it is also printed, with no HCA in it, before a fall-back to sockets.
    """
    found: dict[str, Transport] = {}
    for line in lines:
        said = NCCL.search(line)
        if said:
            uses = found.setdefault(said["host"], Transport(set(), set()))
            uses.networks.update(filter(None, [said["network"]]))
            uses.hcas.update(OPENED.findall(said["opened"] or ""))
    return found


def wrong_fabric(used: Mapping[str, Transport], fabric: Sequence[str]) -> list[str]:
    """Why a host's transport is not the one that `Served.fabric` wants, a line each; no line of NCCL's is no reason.

    A host that calls itself otherwise than the fleet does is held to what all of them want.
    """
    wanted = {
        host: frozenset(filter(None, hcas.split(","))) for host, _, hcas in (row.partition("=") for row in fabric)
    }
    of_all = next(iter(wanted.values())) if len(set(wanted.values())) == 1 else frozenset[str]()
    wrong = []
    for host, uses in sorted(used.items()):
        hcas = wanted.get(host, of_all)
        over = f"InfiniBand or RoCE over {named(hcas)}" if hcas else "InfiniBand or RoCE"
        others = sorted(network for network in uses.networks if not network.startswith("IB"))
        if others:
            wrong.append(f"{host}: NCCL uses the network {', '.join(others)}, wanted {over}")
        elif hcas and uses.hcas and uses.hcas != hcas:
            wrong.append(f"{host}: NCCL uses the HCAs {named(uses.hcas)}, wanted {named(hcas)}")
    return wrong


def named(hcas: Iterable[str]) -> str:
    return ",".join(sorted(hcas, key=lambda name: (len(name), name)))


def with_fabric(served: Served, text: str, job: str) -> tuple[str, str, str]:
    """What `look` says of a stack that gave a token, by the transport between its nodes."""
    lines = [line for log in served.units or (job,) for line in head_of(served.folder, log)]
    used = {host: uses for host, uses in transports(lines).items() if uses.networks}
    wrong = wrong_fabric(used, served.fabric)
    if wrong:
        return "unfit", "\n".join([UNFIT, *(f"  {line}" for line in wrong), FABRIC_FIX]), job
    if len(used) < len(served.fabric):
        return "ready", f"{text} {UNREAD}", job
    return "ready", f"{text} IB:{named({hca for uses in used.values() for hca in uses.hcas})}", job


def look(served: Served, timeout_s: float) -> tuple[str, str, str]:
    """(verdict, text, job): verdict is ready, unfit, waiting, queued, dead or none.

    Raises OSError or TimeoutExpired where squeue does.

    One that is unfit gives tokens, by another transport between its nodes than the declared one.
    """
    verdict, text, job = look_at_units(served, timeout_s) if served.units else look_at_job(served, timeout_s)
    return with_fabric(served, text, job) if verdict == "ready" and served.fabric else (verdict, text, job)


def look_at_job(served: Served, timeout_s: float) -> tuple[str, str, str]:
    """What `look` says, of a SLURM job."""
    found = jobs(served)
    if not found:
        return "none", "no job of this stack is in the queue", ""
    job = found[0]
    if job.state in ("PENDING", "CONFIGURING"):
        return "queued", f"job {job.id} is queued: {job.reason}", job.id
    if job.state not in ("RUNNING", "SUSPENDED"):
        return "dead", f"job {job.id} is {job.state}", job.id
    url, lacking = served.url(job.node), f": {phase_of(log_of(served.folder, job.id))}"
    # the job's own word comes first, in a folder that is its user's alone: before it nothing is asked over the network
    if self_reported(served.folder, job.id):
        try:
            ask(url, served, timeout_s)
            lacking = ""
        except ConnectionRefusedError:
            pass
        except ValueError as error:
            lacking = f" answers {error}"
        except OSError:
            lacking = ""  # the network is closed to the login host; then what the job asked itself counts
        except NO_TOKEN:
            pass
    if lacking:
        return "waiting", f"job {job.id} on {job.node}{lacking}", job.id
    return "ready", f"{url} {job.id}", job.id


def probe(served: Served, _timeout_s: float) -> None:
    """Prints the state; ids and phases move while nothing changes, and what a plan is re-checked against must not."""
    try:
        verdict, text, _ = look(served, PROBE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"unknown: {error}")
        return
    if verdict == "ready":
        print(f"ready {text}")
    elif verdict == "unfit":
        print(f"not ready: {text.splitlines()[1].strip()}")
    else:
        why = {"dead": "its job is dead", "none": "it has no job in the queue"}
        print(f"not ready: {why.get(verdict, 'starting')}")


def where(text: str) -> str:
    """The address of what is ready, and the fabric that was read back."""
    url, _, *fabric = text.split()
    if fabric == [UNREAD]:
        return f"{url}; its NCCL did not say on all nodes by which transport they speak"
    return " by ".join((url, *fabric))


def show(text: str, began: float, shown: tuple[str, float], until: float) -> tuple[str, float]:
    """Sleeps, and prints a text that is new at once and any again after SHOW_S; what was printed last, and when."""
    while (now := time.monotonic()) < until:
        if text != shown[0] or now - shown[1] >= SHOW_S:
            print(f"{PROGRESS}{text} ({now - began:.0f} s)", flush=True)
            shown = (text, now)
        time.sleep(min(shown[1] + SHOW_S, until) - now)
    return shown


def wait(served: Served, timeout_s: float) -> None:
    """Returns with the first token; exits with the cause where the job dies, or `timeout_s` after it began to run."""
    began = running_since = time.monotonic()
    shown = ("", 0.0)
    delay_s, queued = POLL_S, False
    missing_since: float | None = None
    while True:
        now = time.monotonic()
        try:
            verdict, text, job = look(served, WAIT_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            verdict, text, job = "unknown", str(error), ""
        if verdict == "ready":
            print(f"{PROGRESS}ready after {now - began:.0f} s: {where(text)}", flush=True)
            return
        if verdict == "unfit":
            sys.exit(text)
        if verdict == "dead":
            log = f"{job}.log" if served.units else f"job-{job}.out"
            what = f"{text} before it was ready; the first error in {served.folder}/{log}:"
            sys.exit("\n".join([what, *cause_of(log_of(served.folder, job))]))
        missing_since = (missing_since or now) if verdict in ("none", "unknown") else None
        if missing_since and now - missing_since > NODE_PATIENCE_S:
            sys.exit(f"{text}, for {NODE_PATIENCE_S} s")
        if queued or verdict == "queued":
            running_since = now
        if now - running_since > timeout_s:
            what = f"no token {timeout_s:.0f} s after the job started: {text}"
            sys.exit("\n".join([what, *cause_of(log_of(served.folder, job))]))
        shown = show(text, began, shown, now + delay_s)
        queued = verdict == "queued"
        # a job may be queued for days, and each look is work for the controller of a whole site
        delay_s = min(delay_s * QUEUED_POLL_GROWTH, QUEUED_POLL_S) if queued else POLL_S


def ask_self(served: Served, timeout_s: float) -> None:
    """Writes `ready.json` once the job's own server gives a token; gives up without a word after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            tokens = ask(served.url("127.0.0.1"), served, WAIT_TIMEOUT_S)
        except NO_TOKEN:
            time.sleep(POLL_S)
            continue
        with open(f"{served.folder}/ready.json.new", "w", encoding="utf-8") as file:
            json.dump({"job": os.environ.get("SLURM_JOB_ID", ""), "tokens": tokens}, file)
        os.replace(f"{served.folder}/ready.json.new", f"{served.folder}/ready.json")
        return


if __name__ == "__main__":
    modes = {"probe": probe, "wait": wait, "self": ask_self}
    served = Served(**json.loads(sys.argv[2]), queue="".join(sys.argv[4:]))
    modes[sys.argv[1]](served, float(sys.argv[3]))
