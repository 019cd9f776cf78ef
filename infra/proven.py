"""What is known of a deployment whose parts could be read: its engine's rules, its launcher's, then the proof."""

from collections.abc import Iterator, Mapping, Sequence

from hosts.problem import Problem
from infra import placement
from infra.changes import Change, changes, explained
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.ledger.fit import Fit
from infra.proof import Proof, prove
from infra.reading import Reading

_MEETING: Mapping[placement.Rendezvous, str] = {
    "single": "the engine's processes are ranks that a launcher must start",
    "tcp": "the engine's ranks do not find each other over TCP alone",
    "mpi": "the engine's processes are not ranks of an MPI job",
    "ray": "the engine does not run on Ray",
}
"""Why an engine can't be brought together so."""


def proven(d: Deployment, before: Sequence[Problem], *, left_out: tuple[str, ...] = ()) -> Reading:
    """The deployment after everything that it is held against; `before` is what was found until here.

    Each check runs where what it builds on is right: a refused option may be the cause of whatever a later one finds.
    """
    of_engine = (*_meeting(d), *ENGINES[d.engine].problems(d))
    of_launcher = tuple(LAUNCHERS[d.launcher.name].problems(d))
    rendered = not _refused(of_engine)
    staged = rendered and not _refused(of_launcher)
    if _refused(before):
        found = tuple(before)
        return Reading(deployment=d, problems=found, rendered=rendered, staged=staged, proven=False, left_out=left_out)
    problems = (*before, *of_engine, *of_launcher)
    if not rendered:
        return Reading(deployment=d, problems=problems, rendered=False, staged=False, proven=False)
    proof = prove(d)
    near = {role: _changes(d, fit) for role, fit in proof.fits.items() if not fit.fits}
    return Reading(
        deployment=d,
        problems=(*problems, *(_explained(problem, proof, near) for problem in proof.problems)),
        fits=proof.fits,
        changes=near,
        staged=staged,
    )


def _refused(problems: Sequence[Problem]) -> bool:
    return any(problem.level == "error" for problem in problems)


def _changes(d: Deployment, fit: Fit) -> tuple[Change, ...]:
    # an existing site's partition may have nodes that the fleet file does not name
    nodes = None if d.fleet.slurm == "existing" else len(placement.place(d).candidates)
    return changes(fit, inside=fit.request.engine != d.engine, nodes=nodes)


def _explained(problem: Problem, proof: Proof, near: Mapping[str, tuple[Change, ...]]) -> Problem:
    """A problem of a ledger with the cheapest change as its fix."""
    role = next((role for role in near if problem in proof.fits[role].problems), None)
    return explained(problem, near[role][0]) if role is not None and near[role] else problem


def _meeting(d: Deployment) -> Iterator[Problem]:
    """Whether the launcher brings the engine's ranks together."""
    engine, launcher = ENGINES[d.engine], LAUNCHERS[d.launcher.name]
    nodes = placement.place(d).nodes
    by_tasks = d.launcher.by_tasks
    need = placement.rendezvous(d.launcher.name, nodes, by_tasks=by_tasks)
    if need not in engine.rendezvous & launcher.offers:
        fitting = [
            name for name, it in LAUNCHERS.items() if placement.rendezvous(name, nodes) in it.offers & engine.rendezvous
        ]
        fitting += ["slurm with mpi: pmix"] if "mpi" in engine.rendezvous else []
        yield Problem(
            where="$.launcher.mpi" if by_tasks else "$.launcher.name",
            rule="launcher",
            found=f"{launcher.name} with {engine.name} over {nodes} node{'s' if nodes > 1 else ''}",
            wanted=f"a launcher that brings the engine's ranks together ({', '.join(fitting) or 'none does'})",
            why=_MEETING[need] if need in launcher.offers else f"{launcher.name} starts one node's ranks alone",
            fix="leave `mpi: pmix` out" if by_tasks else None,
        )
