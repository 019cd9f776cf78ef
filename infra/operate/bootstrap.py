"""The cluster stages of a fleet straight over SSH: the same stages and the same converge as `pulumi up`, without Pulumi."""

from hosts.converge import LOCK_DIR, Report, Say, Secrets, converge
from hosts.errors import InputError
from hosts.fleet import Fleet
from hosts.problem import Problem
from hosts.remote import Connect
from hosts.state import Stage


def bootstrap(
    fleet: Fleet,
    stages: tuple[Stage, ...],
    connect: Connect,
    *,
    apply: bool,
    keep_going: bool,
    holder: str,
    secrets: Secrets,
    say: Say,
) -> list[Report]:
    """Converges stage after stage. Raises InputError where the fleet's SLURM is not ours, and what `converge` raises.

    `stages` begin with one that only checks, on all hosts: nothing is written anywhere unless all of them pass it.
    """
    if fleet.slurm != "ours":
        raise InputError(
            [
                Problem(
                    where="$.slurm",
                    found=fleet.slurm,
                    wanted="ours",
                    why="the cluster of this fleet is not Slipway's to set up",
                    fix="nothing has to be done: `pulumi up` uses the cluster as it is",
                )
            ]
        )
    reports = []
    for stage in stages:
        say("all hosts", f"{stage.name}: reading {len(stage.hosts)} host(s)")
        report = converge(
            stage,
            connect,
            apply=apply,
            keep_going=keep_going,
            secrets=secrets,
            lock_dir=LOCK_DIR,
            holder=holder,
            say=say,
        )
        report.raise_errors()
        reports.append(report)
    return reports


def table(reports: list[Report], *, apply: bool) -> str:
    """What was done (or, without `apply`, differs), one line a host and stage that changed."""
    lines = []
    for report in reports:
        for outcome in report.outcomes:
            if outcome.planned:
                verb = "changed" if apply else "would change"
                lines.append(
                    f"{report.stage:9} {outcome.host:10} {verb} {len(outcome.planned)} in {outcome.seconds:.1f} s"
                )
                lines += [f"    {line}" for diff in outcome.planned for line in diff.splitlines()] if not apply else []
    unchanged = sum(1 for report in reports for outcome in report.outcomes if not outcome.planned)
    lines.append(
        f"{unchanged} host stage(s) were as they should be" if lines else "nothing to do: every host is as it should be"
    )
    return "\n".join(lines)
