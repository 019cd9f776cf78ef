"""Gather, plan, apply, verify: three trips a host and stage, hosts side by side, nothing written unless all can be.

Only this module and `hosts.remote` talk to machines. Every front end calls `converge`; there is no second way to change
a host.
"""

import base64
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from hosts import shell
from hosts.connection import KILLED, Connect, Output, Remote
from hosts.errors import (
    Blocked,
    ChangedSincePlan,
    Failed,
    Locked,
    NotConverged,
    SlipwayError,
    StepFailed,
    Truncated,
    Unknown,
    Unreachable,
)
from hosts.state import Change, Plan, Resource, Stage

PARALLEL_HOSTS = 32
ATTEMPTS = 3
"""How often a host is planned anew when it moves between plan and apply."""
TAIL_LINES = 12
LOCK_DIR = "/run/slipway"
"""Where the lock of a host lies on which we are root: a folder of root's own."""

Say = Callable[[str, str], None]
"""(host, one line of progress)."""


class Secrets(Protocol):
    """Where the values of secrets come from, at the last moment."""

    def __call__(self, name: str) -> bytes:
        """The value. Raises SlipwayError where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one host showed of one resource: the actual (None: absent), the raw text, or why it can't be told."""

    actual: Resource | None
    out: str
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a gather brought back: by host and key, and the hosts that could not be read."""

    seen: Mapping[str, Mapping[str, Seen]]
    unreachable: Mapping[str, SlipwayError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened on one host: the diffs planned, the keys whose steps ran, and the error that stopped it."""

    host: str
    planned: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    seconds: float = 0.0
    trips: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    error: SlipwayError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcomes of one stage, and what was seen in the end."""

    stage: str
    outcomes: tuple[Outcome, ...]
    facts: Facts

    @property
    def changed(self) -> bool:
        """Whether anything was planned anywhere."""
        return any(outcome.planned for outcome in self.outcomes)

    def observed(self, stage: Stage) -> dict[str, str]:
        """What the resources of the stage observed in the last gather, later hosts over earlier ones."""
        found: dict[str, str] = {}
        for host, resources in stage.hosts.items():
            for resource in resources:
                seen = self.facts.seen.get(host, {}).get(resource.key)
                if seen is not None:
                    found |= resource.observed(seen.out)
        return found

    def raise_errors(self) -> None:
        """Raises the error of the only failed host as it is, or one Failed that names each failed host."""
        failed = [outcome for outcome in self.outcomes if outcome.error]
        if not failed:
            return
        if len(failed) == 1 and failed[0].error:
            raise failed[0].error
        # each error says itself what was done before it
        lines = "\n".join(str(outcome.error) for outcome in failed)
        raise Failed(f"stage {self.stage}: {len(failed)} of {len(self.outcomes)} hosts failed:\n{lines}")


class _Wire:
    """One host's remote, with what went over it counted."""

    def __init__(self, host: str, connect: Connect) -> None:
        self.host, self.connect = host, connect
        self.trips = self.sent = self.received = 0
        self.started = time.monotonic()

    def run(self, script: str, say: Say | None) -> Output:
        """Runs a script; with `say` one that works and may be silent for long, without one that only reads."""
        remote: Remote = self.connect(self.host)
        self.trips += 1
        self.sent += len(script)
        output = remote(script, (lambda line: say(self.host, line)) if say else None)
        self.received += len(output.stdout)
        return output

    def outcome(
        self, planned: Iterable[str], applied: Iterable[str] = (), error: SlipwayError | None = None
    ) -> Outcome:
        return Outcome(
            host=self.host,
            planned=tuple(planned),
            applied=tuple(applied),
            seconds=time.monotonic() - self.started,
            trips=self.trips,
            sent_bytes=self.sent,
            received_bytes=self.received,
            error=error,
        )


def gather(stage: Stage, connect: Connect) -> Facts:
    """Reads the actual state of every resource of the stage; one trip a host."""
    return gather_together((stage,), connect)[0]


def gather_together(stages: Sequence[Stage], connect: Connect) -> tuple[Facts, ...]:
    """Reads the resources of several stages, the facts of each in their order; one trip a host for all of them."""
    hosts = dict.fromkeys(host for stage in stages for host in stage.hosts)
    return _gather_together(stages, {host: _Wire(host, connect) for host in hosts})


def plan(stage: Stage, facts: Facts, *, absent: bool = False) -> Plan:
    """The changes from the facts to the stage (or, `absent`, to nothing of it), and what forbids them. Pure."""
    changes: list[Change] = []
    blocked: list[str] = [str(error) for error in facts.unreachable.values()]
    for host, resources in stage.hosts.items():
        if host in facts.unreachable:
            continue
        for resource in reversed(resources) if absent else resources:
            seen = facts.seen[host][resource.key]
            if absent and not resource.removable:
                continue
            if seen.unknown:
                blocked.append(f"{host}: {resource.key}: {seen.unknown}")
            elif absent and seen.actual is not None:
                changes.append(
                    Change(
                        host=host,
                        key=resource.key,
                        desired=None,
                        actual=seen.actual,
                        before=seen.out,
                        probed=resource,
                    )
                )
            elif not absent and resource.kind == "Requirement" and seen.actual != resource:
                blocked.append(f"{host}: {resource.key}: {_unmet(resource, seen.actual)}")
            elif not absent and seen.actual != resource:
                changes.append(
                    Change(host=host, key=resource.key, desired=resource, actual=seen.actual, before=seen.out)
                )
    return Plan(stage=stage.name, changes=tuple(changes), blocked=tuple(blocked))


def converge(
    stage: Stage,
    connect: Connect,
    *,
    apply: bool,
    secrets: Secrets | None = None,
    absent: bool = False,
    keep_going: bool = False,
    lock_dir: str = LOCK_DIR,
    holder: str = "slipway",
    say: Say | None = None,
) -> Report:
    """Brings a stage to its desired state (or away, `absent`) and proves it.

    Returns a report whose outcomes carry each host's error; raises Unreachable (all hosts in one message) or Blocked
    where the preflight of any host says no, and then nothing was written on any. With `keep_going` the hosts that
    passed go on alone.
    """
    wires = {host: _Wire(host, connect) for host in stage.hosts}
    facts = _gather(stage, wires)
    todo = plan(stage, facts, absent=absent)
    refused: dict[str, SlipwayError] = {}
    if apply and todo.blocked:
        if not keep_going:
            _refuse(todo, facts)
        refused = {
            host: _refusal(host, todo, facts)
            for host in stage.hosts
            if host in facts.unreachable or _is_blocked(host, todo)
        }
    if not apply:
        return Report(
            stage=stage.name, outcomes=tuple(wires[h].outcome(_diffs(todo, h)) for h in stage.hosts), facts=facts
        )

    def one(host: str) -> Outcome:
        if host in refused:
            return wires[host].outcome((), error=refused[host])
        return _apply_host(
            wires[host],
            todo.of(host),
            stage,
            absent=absent,
            secrets=secrets,
            lock_dir=lock_dir if stage.lock else None,
            holder=holder,
            say=say,
        )

    with _pool(stage.hosts) as pool:
        outcomes = {outcome.host: outcome for outcome in pool.map(one, stage.hosts)}
    changed = {host: stage.hosts[host] for host, outcome in outcomes.items() if outcome.planned and not outcome.error}
    if not changed:
        return Report(stage=stage.name, outcomes=tuple(outcomes[host] for host in stage.hosts), facts=facts)
    subset = Stage(name=stage.name, hosts=changed)
    after = _gather(subset, wires)
    left = plan(subset, after, absent=absent)
    for host in changed:
        error: SlipwayError | None = after.unreachable.get(host)
        if error is None and (left.of(host) or _is_blocked(host, left)):
            error = NotConverged(
                f"{host}: everything ran, but this still differs:\n"
                + "\n".join((*_diffs(left, host), *(b for b in left.blocked if b.startswith(f"{host}:"))))
            )
        was = outcomes[host]
        outcomes[host] = wires[host].outcome(was.planned, was.applied, error)
    facts = Facts(seen={**facts.seen, **after.seen}, unreachable={**facts.unreachable, **after.unreachable})
    return Report(stage=stage.name, outcomes=tuple(outcomes[host] for host in stage.hosts), facts=facts)


def _gather(stage: Stage, wires: Mapping[str, _Wire]) -> Facts:
    return _gather_together((stage,), {host: wires[host] for host in stage.hosts})[0]


def _gather_together(stages: Sequence[Stage], wires: Mapping[str, _Wire]) -> tuple[Facts, ...]:
    def read(host: str) -> list[Seen] | SlipwayError:
        try:
            return _read_host(wires[host], [r for stage in stages for r in stage.hosts.get(host, ())])
        except SlipwayError as error:
            return error

    with _pool(wires) as pool:
        results = dict(zip(wires, pool.map(read, wires), strict=True))
    unreachable = {host: result for host, result in results.items() if isinstance(result, SlipwayError)}
    rest = {host: iter(result) for host, result in results.items() if not isinstance(result, SlipwayError)}
    return tuple(
        Facts(
            seen={
                host: {resource.key: next(rest[host]) for resource in resources}
                for host, resources in stage.hosts.items()
                if host in rest
            },
            unreachable={host: error for host, error in unreachable.items() if host in stage.hosts},
        )
        for stage in stages
    )


def _read_host(wire: _Wire, resources: Sequence[Resource]) -> list[Seen]:
    """What the host shows of each resource, in their order."""
    if not resources:
        return []
    script = shell.probe_script([resource.probe() for resource in resources])
    output = wire.run(script, None)
    frames, complete = shell.parse_frames(script, output.stdout)
    if not complete:
        raise _incomplete(wire.host, output, frames)
    seen = []
    for n, resource in enumerate(resources):
        out = frames[str(n)].out
        try:
            seen.append(Seen(actual=resource.parse(out), out=out))
        except Unknown as reason:
            seen.append(Seen(actual=None, out=out, unknown=str(reason)))
    return seen


def _apply_host(
    wire: _Wire,
    changes: Sequence[Change],
    stage: Stage,
    *,
    absent: bool,
    secrets: Secrets | None,
    lock_dir: str | None,
    holder: str,
    say: Say | None,
) -> Outcome:
    """Applies one host's changes; replans where the machine moved."""
    diffs = [change.diff() for change in changes]
    applied: list[str] = []
    for attempt in range(ATTEMPTS):
        if not changes:
            break
        try:
            _apply_once(wire, changes, applied, secrets=secrets, lock_dir=lock_dir, holder=holder, say=say)
            break
        except ChangedSincePlan as error:
            if attempt + 1 == ATTEMPTS:
                return wire.outcome(diffs, applied, error)
            if say:
                say(wire.host, f"{error}; trying again")
            one = Stage(name=stage.name, hosts={wire.host: stage.hosts[wire.host]})
            facts = _gather(one, {wire.host: wire})
            again = plan(one, facts, absent=absent)
            if again.blocked:
                return wire.outcome(diffs, applied, _refusal(wire.host, again, facts))
            changes = again.of(wire.host)
            diffs = [change.diff() for change in changes] or diffs
        except SlipwayError as error:
            return wire.outcome(diffs, applied, error)
    return wire.outcome(diffs, applied)


def _apply_once(
    wire: _Wire,
    changes: Sequence[Change],
    applied: list[str],
    *,
    secrets: Secrets | None,
    lock_dir: str | None,
    holder: str,
    say: Say | None,
) -> None:
    steps = [(str(n), change.steps()) for n, change in enumerate(changes)]
    values: dict[str, str] = {}
    for change in changes:
        name = getattr(change.desired, "secret", "")
        if name and secrets is not None and getattr(change.desired, "digest", ""):  # else the host makes its own
            values[name] = base64.b64encode(secrets(name)).decode()
    script = shell.apply_script(
        steps,
        checks=[(change.probe(), change.before) for change in changes],
        holder=holder,
        lock_dir=lock_dir,
        secrets=values,
    )
    output = wire.run(script, say or _unheard)
    frames, complete = shell.parse_frames(script, output.stdout)
    applied += [changes[int(name)].key for name, frame in frames.items() if name.isdigit() and frame.status == 0]
    if "refused" in frames:
        raise Blocked([f"{wire.host}: the folder of the host's lock: {' '.join(frames['refused'].out.split())}"])
    if "locked" in frames:
        raise Locked(f"{wire.host}: another run works there: {frames['locked'].out.strip() or 'it did not say who'}")
    if "changed" in frames:
        raise ChangedSincePlan(
            f"{wire.host}: {changes[int(frames['changed'].out)].key} changed since the plan was made"
        )
    for name, frame in frames.items():
        if frame.status != 0:
            done = f"; done before it: {', '.join(applied)}" if applied else "; nothing was changed before it"
            rest = [change.key for change in changes[int(name) + 1 :]]
            left = f"; not tried: {', '.join(rest)}" if rest else ""
            tail = "\n".join(f"    {line}" for line in frame.out.strip().splitlines()[-TAIL_LINES:])
            raise StepFailed(f"{wire.host}: {changes[int(name)].key}: a step exited {frame.status}{done}{left}\n{tail}")
    if not complete:
        raise _incomplete(wire.host, output, frames, applied, [change.key for change in changes])


def _incomplete(
    host: str,
    output: Output,
    frames: Mapping[str, shell.Frame],
    applied: Sequence[str] = (),
    planned: Sequence[str] = (),
) -> SlipwayError:
    """Why no last frame arrived: sudo or the shell refused or ended early, or the connection was lost."""
    said = " ".join(output.stderr.split())[-400:]
    if not frames and output.status >= 0:
        if "password is required" in said or "sudo" in said:
            fix = "the fleet's user needs sudo without a password, or `sudo: false` in the fleet file"
            return Blocked([f"{host}: sudo: {said}; {fix}"])
        return Failed(f"{host}: the shell exited {output.status} before anything ran: {said or 'no message'}")
    done = ", ".join(applied) or "nothing"
    rest = ", ".join(key for key in planned if key not in applied)
    what = f"; done: {done}; not known or not tried: {rest}" if planned else ""
    return Truncated(f"{host}: {cut_short(output)} before the script ended{what}; run it again to go on")


def cut_short(output: Output) -> str:
    """What ended a script whose last frame did not arrive: the shell on the host, or the way to it."""
    if output.status >= 0:
        return f"the shell exited with status {output.status}"
    return "the shell was killed" if output.status == KILLED else "the connection was lost"


def _unheard(_host: str, _line: str) -> None:
    """Progress that nobody listens to."""


def _refuse(todo: Plan, facts: Facts) -> None:
    if (
        facts.unreachable
        and len(facts.unreachable) == len(todo.blocked)
        and not any(isinstance(e, Blocked) for e in facts.unreachable.values())
    ):
        raise Unreachable(
            f"stage {todo.stage}: nothing was written on any host in this stage, because:\n"
            + "\n".join(f"  {line}" for line in todo.blocked)
        )
    raise Blocked(todo.blocked)


def _refusal(host: str, todo: Plan, facts: Facts) -> SlipwayError:
    return facts.unreachable.get(host) or Blocked([line for line in todo.blocked if line.startswith(f"{host}:")])


def _is_blocked(host: str, todo: Plan) -> bool:
    return any(line.startswith(f"{host}:") for line in todo.blocked)


def _unmet(resource: Resource, actual: Resource | None) -> str:
    found = getattr(actual, "found", "") or "nothing"
    return f"found {found}, wanted {getattr(resource, 'wanted', '')}; {getattr(resource, 'fix', '')}"


def _diffs(todo: Plan, host: str) -> tuple[str, ...]:
    return tuple(change.diff() for change in todo.of(host))


def _pool(hosts: Collection[str]) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=max(1, min(PARALLEL_HOSTS, len(hosts))), thread_name_prefix="host")
