"""A deployment is proven before any network: its rendered commands against the parser, the rules and the ledger."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from hosts.problem import Problem
from hosts.schema import parse_yaml
from infra import asked, paths
from infra.command import Command, Var
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.flags import table as flag_table
from infra.flags.check import Checked, check
from infra.flags.environment import environment_findings
from infra.flags.table import FlagTable
from infra.flags.words import Token
from infra.ledger.fit import Fit, fit
from infra.placement import Placement, Rank, place
from infra.places import Part
from infra.rules import Context, Subject, findings, of_command

STARTS: Mapping[str, str] = {
    "vllm": "serve",
    "sglang": "sglang.launch_server",
    "sglang-kt": "sglang.launch_server",
    "trtllm": "serve",
}
"""The word after which an engine's own words begin; an engine that is not here has its own rules alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found, and the ledger of each part by its role ("" where there are none); not all parts have one."""

    problems: tuple[Problem, ...]
    fits: Mapping[str, Fit]


def prove(d: Deployment) -> Proof:
    """Everything that is wrong with a deployment beyond its parts: of each role, or of the one thing that it is."""
    placed = place(d)
    problems: list[Problem] = []
    fits: dict[str, Fit] = {}
    for part in d.parts:
        ranks = [rank for rank in placed.ranks if rank.role == part.role]
        within = ENGINES[d.engine].within(part)
        it = Part(whole=d, deployment=within.deployment if within else part, role=part.role, inside=within is not None)
        if it.deployment.engine not in STARTS:
            continue
        table = flag_table.load(it.deployment.engine, it.deployment.release)
        subject, found = _subject(it, table, [replace(rank, role=it.deployment.role) for rank in ranks], placed)
        problems += found
        problems += (it.told(finding, table) for finding in findings(subject))
        asking = asked.request(it.deployment, subject, placed, host_gib=within.host_gib if within else 0.0)
        if asking is not None:
            fits[part.role] = fit(asking)
            problems += fits[part.role].problems
    return Proof(problems=tuple(_once(problems)), fits=fits)


def _subject(it: Part, table: FlagTable, ranks: list[Rank], placed: Placement) -> tuple[Subject, list[Problem]]:
    """What the rules look at, and what the parser says of words that Slipway itself has written."""
    d = it.deployment
    engine = ENGINES[d.engine]
    head, last = (engine.command(d, rank) for rank in (ranks[0], ranks[-1]))
    module = "-m" in head.argv[:2]
    checked = check(table, _words(d.engine, head), module=module)
    read = [checked] if len(ranks) == 1 else [checked, check(table, _words(d.engine, last), module=module)]
    files = {f"{paths.job_folder(d)}/{name}": parse_yaml(text) for name, text in engine.files(d).items()}
    context = Context(
        engine=d.engine,
        release=d.release,
        place=it.place,
        env={name: value for name, value in head.env.items() if isinstance(value, str)},
        packages=_packages(d),
        files=files,
        file_places=dict.fromkeys(files, "$.engine.config"),
        ray_started=d.launcher.name == "ray" or None,
    )
    subject = of_command(checked, context)
    host, mpi = _machine(d, placed), ranks[0].rendezvous == "mpi"
    subject = replace(
        subject,
        places={name: it.of(subject.names.get(name, name)) for name in subject.options},
        model=d.model,
        draft=d.draft or subject.draft,
        nodes=ranks[0].nodes,
        gpus_per_node=placed.gpus_per_node,
        gpu=host.gpu,
        gpu_memory_gib=host.gpu_memory_gib,
        cpu_flags=host.cpu_flags,
        cores=host.cores,
        numa_nodes=host.numa_nodes,
        host_memory_gib=asked.host_memory_gib(d, placed.candidates),
        launcher=d.launcher.name,
        launched_by=("mpirun", "trtllm-llmapi-launch") if mpi else (),
        processes=len(ranks) if mpi else None,
        slots=len(ranks) if mpi else None,
        commanded=False,
    )
    variables = (it.told(finding, table) for finding in environment_findings(table, it.variables()))
    return subject, [*_written(it, table, read), *variables]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    gpu: str | None
    gpu_memory_gib: float | None
    cpu_flags: frozenset[str] | None
    cores: int | None
    numa_nodes: int | None


def _machine(d: Deployment, placed: Placement) -> _Machine:
    """What all nodes have that the ranks may land on; None where one of them does not say, or only pretends."""
    hosts = placed.candidates
    gpu = None if d.fleet.stand_in else asked.gpu_of(hosts)
    flags = [frozenset(host.cpu_flags) for host in hosts]
    cores = [host.cores for host in hosts]
    taken = [d.launcher.cpus] if d.launcher.cpus and d.fleet.kubernetes else []
    nodes = [host.numa_nodes for host in hosts]
    return _Machine(
        gpu=next((host.gpus.model for host in hosts if host.gpus and gpu), None),
        gpu_memory_gib=gpu.total_gib if gpu else None,
        cpu_flags=frozenset.intersection(*flags) if flags and all(flags) else None,
        cores=min(cores + taken) if all(cores) else None,
        numa_nodes=min(nodes) if all(nodes) else None,
    )


def _words(engine: str, command: Command) -> list[Token]:
    """The words after the command's own; a variable is known to the run alone."""
    start = next(n for n, word in enumerate(command.argv) if word == STARTS[engine]) + 1
    return [Token(text=str(word), literal=0 if isinstance(word, Var) else -1) for word in command.argv[start:]]


def _written(it: Part, table: FlagTable, read: list[Checked]) -> Iterator[Problem]:
    """What the parser refuses of options that Slipway sets; those of the stack file were held against it before."""
    given = set() if it.inside else {f"--{name}" for name in it.deployment.args}
    for finding in (finding for checked in read for finding in checked.findings):
        token = (finding.problem.token or "").partition("=")[0]
        if token not in given:
            yield replace(it.told(finding, table), where=it.of(token.lstrip("-")))


def _packages(d: Deployment) -> dict[str, str]:
    pinned = (line.split(" ") for line in d.software.packages if line.startswith("pip "))
    return {name: f"=={version}" for _, name, version in pinned}


def _once(problems: list[Problem]) -> Iterator[Problem]:
    """Each thing once, whichever of parser, rules and ledger said it first."""
    seen: set[tuple[str, str, str]] = set()
    for problem in problems:
        key = (problem.where, problem.rule, problem.found)
        if key not in seen:
            seen.add(key)
            yield problem
