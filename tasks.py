"""The command line: arguments to functions, results to text or JSON, expected errors to exit codes.

Each command imports what it takes: SSH alone takes longer to import than `plan` and `lint` may take in all.
"""

import contextlib
import getpass
import json as jsonlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from hosts.errors import Failed, InputError, Refused, SlipwayError
from hosts.problem import Problem
from hosts.text import printable
from lab.short_flags import Command
from lab.tasks import ns as lab
from tools import many_words
from tools.places import ROOT

if TYPE_CHECKING:
    from hosts.fleet import Fleet
    from hosts.remote import Connections
    from hosts.state import Stage
    from infra.deployment import Deployment
    from infra.lint.result import LintResult
    from infra.operate.choose import Known
    from infra.operate.secrets import SecretStore

JSON = "print one JSON document on standard output and nothing else there"
STACK = "the stack; default: SLIPWAY_STACK, the one selected in Pulumi, slipway:default, or the only one that is up"
INTERRUPTED = 130
LAYOUT = "\n\t"
"""The control characters of our own texts; any other came from a machine or a file, and is shown escaped."""


@contextmanager
def expected(json: bool = False) -> Iterator[None]:
    """Expected errors become their message and exit code; Ctrl-C says that nothing is lost."""
    try:
        yield
    except SlipwayError as error:
        if json:
            problems = [p.to_json() for p in error.problems] if isinstance(error, InputError) else []
            print(jsonlib.dumps({"error": str(error), "problems": problems, "exit": error.exit_code}))
            raise Exit(code=error.exit_code) from None
        text = printable(str(error), LAYOUT)
        raise Exit(
            text if text.startswith(("error:", "warning:")) else f"error: {text}", code=error.exit_code
        ) from None
    except BrokenPipeError:  # whoever read our output (`head`, `less`) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=0) from None
    except KeyboardInterrupt:
        raise Exit("\ninterrupted; nothing is lost, run the same command again to go on", code=INTERRUPTED) from None


def progress() -> Callable[[str, str], None]:
    """Lines on standard error: seconds since the start, host, what it does; a repeated line only every ten seconds."""
    began = time.monotonic()
    shown: dict[str, tuple[str, float]] = {}
    guard = threading.Lock()

    def say(host: str, line: str) -> None:
        with guard:
            now = time.monotonic()
            text, at = shown.get(host, ("", 0.0))
            if line.strip() and (line != text or now - at > 10):
                shown[host] = (line, now)
                print(f"{now - began:6.1f} s  {host}: {printable(line, keep='')}", file=sys.stderr, flush=True)

    return say


def show(document: Mapping[str, object], text: str, json: bool) -> None:
    """One of the two forms of a result; a terminal that lacks a bar's blocks gets others."""
    from infra.bars import shows

    if not json and not shows(sys.stdout.encoding):
        encoding = sys.stdout.encoding or "ascii"
        text = text.translate(dict.fromkeys(map(ord, "▏▎▍▌▋▊▉█"), "#")).encode(encoding, "replace").decode(encoding)
    print(jsonlib.dumps(document, indent=1) if json else printable(text, LAYOUT))


def show_line(line: str) -> None:
    """One line of a log that is followed, as it comes."""
    print(printable(line, keep="\t"), flush=True)


def holder(what: str) -> str:
    """Who a host's lock says is at work."""
    return f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}, {what}"


def connections(fleet: "Fleet") -> "Connections":
    """The connections to a fleet, opened when they are used; a host that does not answer yet is named."""
    from hosts.remote import Connections

    return Connections(fleet, say=progress())


def secrets_of(fleet: "Fleet") -> "SecretStore":
    """Secret values from the environment and this user's own folder (Pulumi's config is Pulumi's to decrypt)."""
    from infra.controller import secrets_folder
    from infra.operate.secrets import SecretStore

    return SecretStore(secrets_folder(os.environ, Path.home()), os.environ, {}, fleet.name)


def cluster_of(fleet: "Fleet") -> "tuple[Stage, ...]":
    """The cluster stages, after the one that only checks."""
    from infra import desired

    stages = desired.cluster_stages(fleet, secrets_of(fleet).digests(fleet))
    return (desired.cluster_requirements(fleet), *stages) if stages else ()


def pulumi(*words: str, quiet: bool = False) -> None:
    """The real CLI, its output passed on (to standard error with `quiet`). Raises Failed with what to do next."""
    from tools import activation

    command = ["pulumi", *words]
    environment = activation.environment(os.environ)
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sys.stderr if quiet else None)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        status = process.wait()  # the CLI got the same signal: it cancels, and leaves a state from which `up` goes on
        raise
    finally:
        if process.poll() is None:
            process.terminate()
    if status != 0:
        raise Failed(f"`{' '.join(command)}` ended with status {status}; see its own message above")


def clear_dead_lock(stack: str) -> None:
    """Removes the lock of a Pulumi CLI that was killed on this machine; a living one's, or another machine's, stays."""
    from infra.operate import backend_lock
    from tools import activation

    url = activation.environment(os.environ).get("PULUMI_BACKEND_URL", "")
    for process in backend_lock.clear(url, stack, hostname=socket.gethostname(), alive=lives):
        print(f"removed the lock of pulumi process {process}, which has ended", file=sys.stderr)


def lives(process: int) -> bool:
    """Whether a process of this machine is there; signal 0 only asks."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def stack_of(stack: str) -> "Deployment":
    """The deployment of the stack that `-s` names, or that is meant without it."""
    from infra import spec

    return spec.load(meant(stack))


def meant(stack: str) -> str:
    """The stack that `-s` names; without it the one that comes into question, which is shown with the reason."""
    from infra.operate import choose

    if stack:
        return stack
    chosen = choose.choose(os.environ.get("SLIPWAY_STACK", ""), known_to_pulumi)
    print(f"stack {chosen.stack} ({chosen.why})", file=sys.stderr)
    return chosen.stack


def known_to_pulumi() -> "Known":
    """What the backend has of stacks; nothing where it can't be read."""
    from infra.operate.choose import Known
    from tools import activation, stacks
    from tools.progress import SetupFailed

    try:
        selected, up = stacks.selected_and_up(activation.environment(os.environ))
    except SetupFailed:
        return Known()
    return Known(selected=selected, up=up)


def adopted(found: "LintResult", stack: str) -> None:
    """Writes the stack file that renders to a document's command. Raises InputError where that can't be."""
    from hosts.fleet import NAME
    from infra.lint.adopt import adopt
    from tools.places import STACKS

    if not NAME.fullmatch(stack):
        wanted = "small letters, digits and dashes, as in kimi-prod"
        raise InputError([Problem(where="--adopt", found=repr(stack), wanted=wanted)])
    path = STACKS / f"Pulumi.{stack}.yaml"
    if path.exists():
        raise InputError(
            [Problem(where="--adopt", found=f"{stack}, which exists already", wanted="the name of a new stack")]
        )
    write(path, adopt(found, stack))
    print(
        f"wrote {path.relative_to(ROOT)}; look at it, then: invoke plan -s {stack}; "
        "before its first preview: python -m tools.stacks",
        file=sys.stderr,
    )


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all. Raises InputError where that can't be."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise InputError([Problem(where=str(path), found=f"{error.strerror}", wanted="a writable path")]) from None


def answers(endpoint: str) -> bool:
    """Whether an endpoint can be reached from this machine as it is."""
    parts = urlsplit(endpoint)
    try:
        with socket.create_connection((parts.hostname, parts.port), 2.0):
            return True
    except OSError:
        return False


def reached(it: "Deployment", endpoint: str | None) -> tuple[dict[str, str | None], list[str]]:
    """What a client of a running stack needs, as keys of a document and as lines; nothing without an endpoint."""
    from infra.operate.tunnel import client, known_hosts
    from tools.places import cache

    if not endpoint:
        return {}, []
    pins = cache() / "known_hosts" / it.fleet.name
    text = known_hosts(it.fleet)
    if text:
        pins.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(pins, text)
    found = client(it, endpoint, str(pins) if text else "", reachable=answers(endpoint))
    return found.to_json(), list(found.lines())


@task(
    klass=Command,
    help={
        "hosts": "HOST…: addresses, NAME=ADDRESS, or hosts of the fleet; without a NAME it is the machine's own",
        "fleet": "the fleet, a file in hosts/inventory; created if missing",
        "user": "the account on the machines; default: yours",
        "port": "the SSH port; default: 22",
        "jump": "the host to go through, one of the fleet or of HOSTS",
        "login": "which of the machines is the login host",
        "identity": "a private key file; default: your agent's and your own keys",
        "storage": "the folder that all machines share, for a new fleet",
        "slurm": "ours, existing or none, for a new fleet; existing with --login alone reads nodes from scontrol",
        "partition": "the SLURM partition; of a site's nodes, only those in it are taken",
        "gpu": "what the GPUs of a site's nodes are, where SLURM does not tell: h200, h100-80gb, …",
        "accept_new": "take the host keys of machines that have none pinned without asking",
        "json": JSON,
    },
)
def enroll(
    _: Context,
    *,
    hosts: str = "",
    fleet: str = "",
    user: str = "",
    port: int = 0,
    jump: str = "",
    login: str = "",
    identity: str = "",
    storage: str = "",
    slurm: str = "",
    partition: str = "",
    gpu: str = "",
    accept_new: bool = False,
    json: bool = False,
) -> None:
    """Read machines into a fleet file. Example: invoke enroll --fleet dgx --storage /shared dgx1=10.0.0.21"""
    from hosts import fleet as fleets
    from hosts.remote import Connections, fetch_host_key
    from infra.operate.enroll import enroll as read_machines
    from infra.operate.fleet_file import Request

    with expected(json):
        request = Request(
            fleet=fleet,
            hosts=tuple(word for word in hosts.split(many_words.SEPARATOR) if word),
            default_user=getpass.getuser(),
            user=user,
            port=port,
            jump=jump,
            login=login,
            identity=identity,
            storage=storage,
            slurm=slurm,
            partition=partition,
            gpu=gpu,
        )
        opened: list[Connections] = []

        def connect_to(it: "Fleet") -> Connections:
            opened.append(Connections(it))
            return opened[-1]

        def ask(question: str) -> bool:
            return (
                not json
                and sys.stdin.isatty()
                and input(f"{printable(question, keep='')} [y/N] ").strip().lower() in ("y", "yes")
            )

        def accept(question: str) -> bool:
            return accept_new or ask(question)

        say = progress()
        try:
            found = read_machines(
                request,
                folder=fleets.INVENTORY,
                fetch=fetch_host_key,
                connect_to=connect_to,
                accept_new=accept,
                accept_changed=ask,
                say=lambda line: say(fleet, line),
            )
        finally:
            for connections in opened:
                connections.close()
        show(found.to_json(), "\n".join(found.lines()), json)


@task(
    klass=Command,
    name="bootstrap-cluster",
    help={
        "fleet": "the fleet, a file in hosts/inventory",
        "dry_run": "show what would change, and change nothing",
        "keep_going": "go on with the hosts that pass when others do not",
        "json": JSON,
    },
)
def bootstrap_cluster(
    _: Context, fleet: str, dry_run: bool = False, keep_going: bool = False, json: bool = False
) -> None:
    """Set up a fleet's cluster over SSH, or repair it. Example: invoke bootstrap-cluster --fleet lab --dry-run"""
    from hosts import fleet as fleets
    from infra.operate import bootstrap

    with expected(json):
        it = fleets.load(fleet)
        connect = connections(it)
        done = bootstrap.bootstrap(
            it,
            cluster_of(it),
            connect,
            apply=not dry_run,
            keep_going=keep_going,
            holder=holder(f"bootstrap-cluster of {fleet}"),
            secrets=secrets_of(it),
            say=progress(),
        )
        show(bootstrap.to_json(it, done), bootstrap.table(done, apply=not dry_run), json)
        if bootstrap.errors(done):
            sys.stdout.flush()
            bootstrap.raise_errors(done)


@task(
    klass=Command,
    help={
        "stack": STACK,
        "html": "write the same as one page with a picture of the ledger, for a browser or a mail",
        "json": JSON,
    },
)
def plan(_: Context, stack: str = "", html: str = "", json: bool = False) -> None:
    """Show what would run where, and whether it fits, without any network. Example: invoke plan -s dgx-h200"""
    from infra import spec, view
    from infra.bars import shows

    with expected(json):
        it = spec.read(meant(stack))
        if html:
            from infra.page import plan_html

            write(Path(html), plan_html(it))
            print(f"wrote {html}", file=sys.stderr)
        if json or not html:
            text = "" if json else view.plan_text(it, ascii_only=not shows(sys.stdout.encoding)).rstrip()
            show(view.plan_json(it) if json else {}, text, json)
        if it.errors:
            raise Exit(code=Refused.exit_code)


@task(
    klass=Command,
    help={
        "file": "FILE: a script, sbatch file, README, Dockerfile, manifest or launch line; - is standard input",
        "engine": "only commands of this engine: vllm, sglang, sglang-kt, kt-kernel or trtllm",
        "release": "the release to hold them against; default: one that the text pins, else the newest known",
        "adopt": "write stacks/Pulumi.ADOPT.yaml, the stack that renders to the same command",
        "json": JSON,
    },
)
def lint(_: Context, file: str, engine: str = "", release: str = "", adopt: str = "", json: bool = False) -> None:
    """Check launch lines against their engine's release, and correct them. Example: invoke lint serve.sbatch"""
    from infra.lint import asked
    from infra.lint.lint import lint as lint_text

    with expected(json):
        only = asked.engine(engine)
        text = asked.text(sys.stdin.buffer, "standard input") if file == "-" else asked.document(Path(file))
        found = lint_text(text, file, only, asked.release(release, only))
        if adopt:
            adopted(found, adopt)
        show(found.to_json(), "" if json else found.text().rstrip(), json)
        if not found.ok:
            raise Exit(code=Refused.exit_code)


@task(
    klass=Command,
    help={
        "model": "MODEL: a name in infra/models, or the path of a config.json or of a model's folder",
        "engine": "vllm, sglang, sglang-kt, kt-kernel or trtllm",
        "release": "the engine's release; default: the newest known",
        "gpus": "GPUs of each node: 8xh200, or 8x139.8GiB",
        "nodes": "how many nodes",
        "tensor": "tensor-parallel size; default: the engine's own, 1",
        "pipeline": "pipeline-parallel size",
        "data": "data-parallel size",
        "expert": "whole experts on each GPU",
        "decode_context": "decode-context-parallel size",
        "dtype": "auto, bfloat16, float16 or float32",
        "quant": "as if the weights were quantised so: fp8-block, compressed-tensors-int4, nvfp4, …",
        "kv_dtype": "auto, fp8, bfloat16, …",
        "max_model_len": "tokens of the longest sequence, 65536 or 64K; default: the model's own",
        "max_num_seqs": "sequences at once",
        "max_num_batched_tokens": "tokens of one step",
        "utilization": "vLLM's gpu-memory-utilization, SGLang's mem-fraction-static",
        "draft": "a draft model for speculation",
        "host_ram_gib": "memory of each node, for experts and offloading",
        "kt_num_gpu_experts": "KTransformers: experts of each layer on GPUs; the others lie on the host",
        "json": JSON,
    },
)
def fit(
    _: Context,
    model: str,
    *,
    engine: str = "vllm",
    release: str = "",
    gpus: str = "8xh200",
    nodes: int = 1,
    tensor: str = "",
    pipeline: int = 1,
    data: int = 1,
    expert: bool = False,
    decode_context: int = 1,
    dtype: str = "auto",
    quant: str = "",
    kv_dtype: str = "auto",
    max_model_len: str = "",
    max_num_seqs: int = 0,
    max_num_batched_tokens: str = "",
    utilization: str = "",
    draft: str = "",
    host_ram_gib: float = 0.0,
    kt_num_gpu_experts: int = 0,
    json: bool = False,
) -> None:
    """Compute what a model needs of each GPU and host. Example: invoke fit kimi-k2.5 --gpus 8xh200 --tensor 8"""
    from infra.ledger.nearest import answer, document
    from infra.ledger.request import from_options
    from infra.ledger.text import lines

    with expected(json):
        request = from_options(
            model,
            engine=engine,
            release=release,
            gpus=gpus,
            nodes=nodes,
            tensor=tensor,
            pipeline=pipeline,
            data=data,
            expert=expert,
            decode_context=decode_context,
            dtype=dtype,
            quant=quant,
            kv_dtype=kv_dtype,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            utilization=utilization,
            draft=draft,
            host_ram_gib=host_ram_gib,
            kt_num_gpu_experts=kt_num_gpu_experts,
        )
        found, suggestions = answer(request)
        show(document(found, suggestions), "\n".join(lines(found, suggestions)), json)
        if not found.fits:
            raise Exit(code=Refused.exit_code)


@task(
    klass=Command,
    help={
        "engine": "the engine: vllm, sglang, …",
        "model": "the model, where several stacks of the engine exist",
        "fleet": "the fleet, likewise",
        "stack": "the stack, in place of searching one",
        "ttl": "end the job this long from now (4h, 90m, 2-12:00:00), where its own limit is not earlier",
        "json": JSON,
    },
)
def serve(
    _: Context,
    *,
    engine: str = "",
    model: str = "",
    fleet: str = "",
    stack: str = "",
    ttl: str = "",
    json: bool = False,
) -> None:
    """Bring a stack up and return when tokens flow. Example: invoke serve --engine vllm --fleet lab --ttl 4h"""
    from infra.operate import choose, lease
    from infra.operate.status import status as read_status

    with expected(json):
        minutes = lease.minutes_of(ttl) if ttl else 0
        searched = not stack and (engine or model or fleet)
        it = choose.matching(engine=engine, model=model, fleet=fleet) if searched else stack_of(stack)
        clear_dead_lock(it.stack)
        pulumi("up", "-s", it.stack, "--yes", "--skip-preview", "--non-interactive", quiet=json)
        connect = connections(it.fleet)
        ends = lease.shorten(it, connect, minutes) if minutes else ""
        found = read_status(it, connect)
        document, lines = reached(it, found.endpoint)
        text = "\n".join([found.text(), *lines, *([ends] if ends else [])])
        show(found.to_json() | document | {"ttl": ends or None}, text, json)


@task(klass=Command, help={"stack": STACK, "json": JSON})
def status(_: Context, stack: str = "", json: bool = False) -> None:
    """Ask the machines how a stack is. Example: invoke status -s lab"""
    from infra.operate.status import status as read_status

    with expected(json):
        it = stack_of(stack)
        found = read_status(it, connections(it.fleet))
        document, lines = reached(it, found.endpoint)
        show(found.to_json() | document, "\n".join([found.text(), *lines]), json)


@task(
    klass=Command,
    help={
        "stack": STACK,
        "follow": "go on with what is written, until Ctrl-C",
        "lines": "how many lines back",
        "json": JSON,
    },
)
def logs(_: Context, stack: str = "", follow: bool = False, lines: int = 100, json: bool = False) -> None:
    """Show the log of a stack's job. Example: invoke logs -s lab -f"""
    from infra.operate import logs as job_logs

    with expected(json):
        it = stack_of(stack)
        if follow and json:
            raise InputError([Problem(where="--follow", found="--json as well", wanted="one of the two")])
        if follow:
            with contextlib.suppress(KeyboardInterrupt):  # that is how following ends
                job_logs.follow(it, connections(it.fleet), lines, show_line)
            return
        text = job_logs.logs(it, connections(it.fleet), lines)
        show({"stack": it.stack, "lines": text.rstrip("\n").split("\n")}, text.rstrip(), json)


@task(klass=Command, help={"stack": STACK, "tools": "also ask for a tool call and for a reasoning reply", "json": JSON})
def smoke(_: Context, stack: str = "", tools: bool = False, json: bool = False) -> None:
    """Ask a stack's model for tokens. Example: invoke smoke -s lab --tools"""
    from infra.operate.smoke import smoke as ask_for_tokens

    with expected(json):
        it = stack_of(stack)
        found = ask_for_tokens(it, connections(it.fleet), tools=tools)
        show(found.to_json(), found.text(), json)


@task(klass=Command, help={"stack": STACK, "json": JSON})
def rotate(_: Context, stack: str = "", json: bool = False) -> None:
    """Change the keys of the mesh between a stack's nodes, without a restart. Example: invoke rotate -s lab-trtllm"""
    from infra.operate.rotate import rotate as rotate_keys

    with expected(json):
        it = stack_of(stack)
        said = rotate_keys(it, connections(it.fleet), progress())
        show({"stack": it.stack, "rotated": True}, f"{it.stack}: new keys on all nodes; {said}", json)


@task(
    klass=Command,
    help={
        "stack": STACK,
        "cluster": "also remove the cluster, unless another stack claims it",
        "purge": "also remove environments and copied models that nobody claims",
        "yes": "do not ask",
        "json": JSON,
    },
)
def teardown(
    _: Context, stack: str = "", cluster: bool = False, purge: bool = False, yes: bool = False, json: bool = False
) -> None:
    """Destroy a stack, prove that nothing is left, and say what it cost. Example: invoke teardown -s lab --cluster"""
    from infra import desired
    from infra.controller import backend
    from infra.operate import absence, removal
    from infra.operate import teardown as operate
    from infra.provider import lock_dir
    from tools import activation

    with expected(json):
        it = stack_of(stack)
        agree(
            f"This ends the service of {it.stack} on {it.fleet.name}" + (" and removes its cluster" if cluster else ""),
            yes or json,
        )
        connect, say = connections(it.fleet), progress()
        ours = backend(activation.environment(os.environ), Path.home())
        operate.refuse_elsewhere(it, ours, connect)
        if cluster:
            operate.refuse_claimed(it.fleet, connect, but=it.stack)
        say("all hosts", "adding up GPU-hours")
        cost = operate.bill(it, connect)
        clear_dead_lock(it.stack)
        pulumi("destroy", "-s", it.stack, "--yes", "--skip-preview", "--non-interactive", quiet=json)
        removal.remove(  # what a failed `up` left is in no state
            it.fleet,
            it.stack,
            connect,
            backend=ours,
            holder=holder(f"teardown of {it.stack}"),
            lock_dir=lock_dir(it.fleet.slurm, it.fleet.storage.path),
            say=say,
        )
        found = absence.scan(it.fleet, it.stack, connect)
        found.raise_left()
        gone: list[str] = []
        if cluster:
            gone = operate.remove_cluster(
                it.fleet,
                desired.cluster_stages(it.fleet, secrets_of(it.fleet).digests(it.fleet)),
                connect,
                holder=holder(f"teardown of {it.stack}"),
                secrets=secrets_of(it.fleet),
                say=say,
            )
        purged = operate.purge(it.fleet, connect) if purge else []
        document = cost.to_json() | {
            "stack": it.stack,
            "looked_at": found.looked_at,
            "hosts": found.hosts,
            "others": found.others,
            "left": [],
            "foreign": [finding.to_json() for finding in found.foreign],
            "cluster_removed": gone,
            "purged": purged,
        }
        lines = [
            f"nothing of {it.stack} is left on {', '.join(found.hosts)}",
            f"looked at: {', '.join(found.looked_at)}",
            *([f"not looked at, since they are somebody else's: {', '.join(found.others)}"] if found.others else []),
            *(f"note: {note}" for note in found.notes()),
            cost.text(),
        ]
        if cluster:
            lines.append(f"the cluster is removed: {len(gone)} resource(s); what stays: logs, base packages, storage")
        if purge:
            lines.append(f"purged: {', '.join(purged) or 'nothing was unclaimed'}")
        else:
            lines.append(
                "what stacks share stays: environments, caches, copied models; --purge removes what none claims"
            )
        lines.append(
            f"do not run `pulumi stack rm {it.stack}` without --preserve-config: it would delete the stack file"
        )
        show(document, "\n".join(lines), json)


def agree(what: str, yes: bool) -> None:
    """Asks on a terminal. Raises Refused where nobody can answer, or the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"{what}; there is no terminal to ask on; add --yes")
    if input(f"{what}. Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Refused("nothing was done")


@task(klass=Command)
def demo(context: Context) -> None:
    """Take three fresh machines to a served model, and ask it. Example: invoke demo (or: make demo)"""
    from infra import spec
    from infra.operate.smoke import smoke as ask_for_tokens
    from infra.operate.status import status as read_status

    with expected():
        lab["up"](context)
        it = spec.load("lab")
        clear_dead_lock("lab")
        print("\n$ pulumi up -s lab", flush=True)
        pulumi("up", "-s", "lab", "--yes", "--skip-preview", "--non-interactive")
        print("\n$ invoke smoke -s lab --tools", flush=True)
        connect = connections(it.fleet)
        show({}, ask_for_tokens(it, connect, tools=True).text(), json=False)
        found = read_status(it, connect)
        print(
            f"\nserved at {found.endpoint} (a stand-in cluster: the GPUs are counted, the tiny model runs on the CPU)"
        )
        print(
            "look around: invoke status -s lab; invoke logs -s lab; invoke lab.shell dgx1; pulumi preview -s lab --diff"
        )
        print("tear down:   invoke teardown -s lab --yes; invoke lab.down")


@task(klass=Command)
def check(context: Context) -> None:
    """Run the formatter's check, the linter, the types and the unit tests. Example: invoke check"""
    for command in (
        "ruff format --check .",
        "ruff check .",
        "mypy",
        "pytest -q tests/unit tests/golden tests/test_layers.py",
    ):
        context.run(command, pty=sys.stdout.isatty())


@task(klass=Command, help={"name": "the environment, a folder in infra/environments"})
def lock(_: Context, name: str) -> None:
    """Solve an environment and write its conda.lock. Example: invoke env.lock vllm-0.19.1"""
    from lab.paths import mirrors as lab_mirrors

    with expected():
        folder = ROOT / "infra" / "environments" / name
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) or not (folder / "environment.yml").is_file():
            known = ", ".join(sorted(path.parent.name for path in folder.parent.glob("*/environment.yml")))
            raise InputError([Problem(where="NAME", found=repr(name), wanted=f"one of {known}")])
        # channels that only the lab's nodes see under that name
        mirrors = [f"--mirror={seen}={here}" for seen, here in lab_mirrors().items()]
        command = [sys.executable, "-m", "infra.operate.lock_environment", str(folder), *mirrors]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode  # apart: the solver's threads outlive it
        if status != 0:
            raise Failed(f"{name} could not be locked; see the reason above")


@task(
    klass=Command,
    help={
        "engine": "vllm, sglang, sglang-kt, kt-kernel, vllm-bench-serve, sglang-router or huggingface-hub",
        "release": "a release that its package index has",
        "json": JSON,
    },
)
def extract(_: Context, engine: str, release: str, json: bool = False) -> None:
    """Make an engine release's table of options from its package. Example: invoke flags.extract vllm 0.20.0"""
    from tools.flags import extract as extract_table

    with expected(json):
        say = progress()
        path = extract_table(engine, release, lambda line: say(engine, line))
        show({"engine": engine, "release": release, "table": str(path)}, f"wrote {path.relative_to(ROOT)}", json)


ns = Collection(enroll, bootstrap_cluster, plan, lint, fit, serve, status, logs, smoke, rotate, teardown, demo, check)
ns.add_collection(lab)
ns.add_collection(Collection("env", lock))
ns.add_collection(Collection("flags", extract))
many_words.accept(ns, "enroll", "hosts")
