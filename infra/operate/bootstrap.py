"""The cluster stages of a fleet straight over SSH: the same stages and converge as `pulumi up`, without Pulumi."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hosts.connection import Connect
from hosts.converge import LOCK_DIR, Facts, Report, Say, Secrets, converge, plan
from hosts.errors import Blocked, Failed, InputError, SlipwayError, Unreachable
from hosts.fleet import Fleet
from hosts.problem import Problem
from hosts.state import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One stage: its report, and what a dry run could not tell of it."""

    report: Report
    untold: tuple[str, ...] = ()


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
) -> list[Done]:
    """Converges stage after stage; with `keep_going` a host that failed is left out of the stages after it.

    `stages` begin with one that only checks, on all hosts: nothing is written anywhere unless all of them pass it.
    Raises InputError where the fleet's SLURM is not ours, and what `converge` raises; a dry run is refused alike.
    """
    _must_be_ours(fleet)
    done: list[Done] = []
    failed: set[str] = set()
    for whole in stages:
        stage = replace(whole, hosts={host: wanted for host, wanted in whole.hosts.items() if host not in failed})
        if not stage.hosts:
            continue
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
        if not keep_going:
            report.raise_errors()
        done.append(Done(report=report, untold=() if apply else _refused(stage, report, keep_going=keep_going)))
        failed |= {host for _, host, _ in errors(done)}
    return done


def _must_be_ours(fleet: Fleet) -> None:
    if fleet.slurm == "ours":
        return
    problem = Problem(
        where="$.slurm",
        found=fleet.slurm,
        wanted="ours",
        why="the cluster of this fleet is not Slipway's to set up",
        fix="nothing has to be done: `pulumi up` uses the cluster as it is",
    )
    raise InputError([problem])


def _refused(stage: Stage, report: Report, *, keep_going: bool) -> tuple[str, ...]:
    """What of a stage can't be told today, and an earlier stage may change; raises where a real run is refused."""
    unreachable = report.facts.unreachable
    if unreachable and not keep_going:
        raise Unreachable("not every host can be read:\n" + "\n".join(f"  {error}" for error in unreachable.values()))
    readable = replace(stage, hosts={host: wanted for host, wanted in stage.hosts.items() if host not in unreachable})
    blocked = plan(readable, Facts(seen=report.facts.seen)).blocked
    required = any(resource.kind == "Requirement" for wanted in stage.hosts.values() for resource in wanted)
    if blocked and required and not keep_going:
        raise Blocked(blocked)
    return blocked


def errors(done: Sequence[Done]) -> list[tuple[str, str, SlipwayError]]:
    """(stage, host, error) of every host that failed."""
    found = []
    for report in (d.report for d in done):
        failed = {outcome.host: outcome.error for outcome in report.outcomes if outcome.error}
        found += [(report.stage, host, error) for host, error in {**report.facts.unreachable, **failed}.items()]
    return found


def raise_errors(done: Sequence[Done]) -> None:
    """Raises one Failed that names each failed host, where any did."""
    found = errors(done)
    if found:
        lines = (f"  {stage}: {error}" for stage, _, error in found)
        raise Failed(f"{len(found)} host(s) failed, the others went on:\n" + "\n".join(lines))


def to_json(fleet: Fleet, done: Sequence[Done]) -> dict[str, object]:
    """The document."""
    failed = {(stage, host): str(error) for stage, host, error in errors(done)}
    return {
        "fleet": fleet.name,
        "changed": any(d.report.changed for d in done),
        "stages": [
            {
                "name": d.report.stage,
                "hosts": {
                    o.host: {
                        "planned": o.planned,
                        "applied": o.applied,
                        "seconds": round(o.seconds, 2),
                        "error": failed.get((d.report.stage, o.host)),
                    }
                    for o in d.report.outcomes
                },
                "untold": d.untold,
            }
            for d in done
        ],
    }


def table(done: Sequence[Done], *, apply: bool) -> str:
    """What was done (or, without `apply`, differs), a line for each host and stage that changed; then the others."""
    lines: list[str] = []
    for d in done:
        for outcome in d.report.outcomes:
            if not outcome.planned:
                continue
            what = (
                f"changed {len(outcome.applied)} of {len(outcome.planned)} in {outcome.seconds:.1f} s"
                if apply
                else f"would change {len(outcome.planned)}"
            )
            lines.append(f"{d.report.stage:9} {outcome.host:10} {what}")
            if not apply:
                lines += [f"    {line}" for diff in outcome.planned for line in diff.splitlines()]
        lines += [f"{d.report.stage:9} can't be told yet: {line}" for line in d.untold]
    failed = {(stage, host) for stage, host, _ in errors(done)}
    same = sum(not o.planned and (d.report.stage, o.host) not in failed for d in done for o in d.report.outcomes)
    if not lines and not failed:
        return "nothing to do: every host is as it should be"
    return "\n".join((*lines, f"{same} host stage(s) were as they should be"))
