"""Slipway's Pulumi provider: one resource a stage, and the same `converge` behind it that Invoke calls.

`check` and `diff` are pure; `read`, `create`, `update` and `delete` go to the machines. The machine is the truth and
Pulumi's state a memo: a host that can't be read keeps its memo and counts as changed, so a preview says so and an `up`
fails by name.
"""

import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hosts.connection import Connect
from hosts.converge import LOCK_DIR, Report, converge
from hosts.errors import Blocked, Cancelled, SlipwayError, Unreachable
from hosts.resources.claim import Claim
from hosts.state import Stage, to_wire
from hosts.text import printable
from infra import wire
from infra.controller import secrets_folder
from infra.operate import removal
from infra.operate.secrets import SecretStore
from infra.reads import Reads
from infra.wire import How, Plain

INTERRUPTIBLE = ("environment", "image", "weights", "ready")
"""The stages that wait, for work that is detached or for readiness: a cancel ends the wait at once, and what they wait
for goes on. The others finish what they have begun."""

READ = "(read)"
"""In place of a stage's name: connections that only read."""
REPEAT_S = 10.0

Severity = Literal["info", "warning"]
Log = Callable[[Severity, str, str, bool], None]
"""(severity, message, URN of the resource, whether the next one takes its place)."""


class StageProvider:
    """The operations on a stage, given by its properties as plain values; `log` is where progress and warnings go."""

    def __init__(self, log: Log) -> None:
        self._log: Log = lambda severity, message, urn, once: log(severity, printable(message), urn, once)
        self._secrets: dict[str, str] = {}
        self._stop = threading.Event()
        self._unread: dict[str, dict[str, str]] = {}
        """By URN: the hosts, or host and key, that the last read could not tell, and why."""
        self._connections: dict[tuple[str, bool], Connect] = {}
        self._reads: dict[str, Reads] = {}
        self._guard = threading.Lock()
        self._said: set[tuple[str, str]] = set()

    def configure(self, secrets: Plain) -> None:
        """Takes `slipway:secrets`, decrypted, as a mapping or its JSON; it is kept in this process only."""
        if isinstance(secrets, str):
            secrets = json.loads(secrets)
        self._secrets = {str(k): str(v) for k, v in (secrets or {}).items()}

    def check(self, new: Mapping[str, Any]) -> str:
        """Why these are no properties of a stage; "" where they are."""
        try:
            wire.stage_of(new)
        except (ValueError, KeyError, TypeError) as error:
            return str(error) or type(error).__name__
        return ""

    def diff(self, urn: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, How]:
        """How each property differs, by its path; a host that was not read differs as well."""
        paths: dict[str, How] = {}
        by_host: dict[str, list[str]] = {}
        for found in wire.differences(old.get("hosts", {}), new.get("hosts", {})):
            paths[found.path] = found.how
            sign = {"add": "+", "delete": "-", "update": "~"}[found.how]
            text = f"{sign} {found.key}" + (f" ({found.field})" if found.field else "")
            if text not in by_host.setdefault(found.host, []):
                by_host[found.host].append(text)
        for place in self._unread.get(urn, {}):
            paths[f"hosts[{wire.quoted(place)}]"] = "update"
            by_host.setdefault(place, []).append("not read, so it counts as changed")
        for host, texts in by_host.items():
            more = f" and {len(texts) - 6} more" if len(texts) > 6 else ""
            line = f"{host}: {', '.join(texts[:6])}{more}"
            with self._guard:
                again = (urn, line) in self._said  # the engine asks for the same diff after a refresh and for the step
                self._said.add((urn, line))
            if not again:
                self._log("info", line, urn, False)
        return paths

    def create(self, urn: str, new: Mapping[str, Any]) -> dict[str, str]:
        """Converges, and adopts what is there and ours; what was observed."""
        stage = wire.stage_of(new)
        return self._run(urn, stage, new).observed(stage)

    def update(self, urn: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
        """Takes away what is no longer wanted, then converges; what was observed.

        Raises Blocked where the fleet has another SLURM than before: what owned the processes would be taken away last,
        and with it the folder that they share with what owns them now.
        """
        was, now = old["fleet"]["slurm"], new["fleet"]["slurm"]
        if was != now:
            why = f"the stack was brought up on `slurm: {was}`, and its fleet now says `slurm: {now}`"
            raise Blocked([f"{why}; first run: invoke teardown -s {new['stack']}, with the fleet's file as it was"])
        gone = wire.without(wire.stage_of(old), new["hosts"])
        gone = wire.claims_only(gone) if gone.keep else gone
        needs = wire.requirements_only(wire.stage_of(new))
        if gone.hosts and needs.hosts:  # what comes instead of it may be refused
            self._run(urn, needs, new)
        here = {host: resources for host, resources in gone.hosts.items() if host in new["hosts"]}
        if here:
            self._run(urn, replace(gone, hosts=here), old, absent=True)
        for host in sorted({*gone.hosts} - {*here}):
            try:
                self._run(urn, replace(gone, hosts={host: gone.hosts[host]}), old, absent=True)
            except Unreachable as error:  # a dead machine that was taken out of the fleet must not hold up the others
                self._log("warning", f"{host}: no longer of the stack, and what is there stays: {error}", urn, False)
        observed = self.create(urn, new)
        self._unread.pop(urn, None)
        return observed

    def read(self, urn: str, memo: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The stage as it is, in the form of the wire, and what was observed; what can't be told is as in the memo."""
        stage = wire.stage_of(memo)
        facts = self._reads_of(memo).facts(stage)
        unread: dict[str, str] = {}
        hosts: dict[str, Any] = {}
        observed: dict[str, str] = {}
        for host, resources in stage.hosts.items():
            if host in facts.unreachable:
                unread[host] = str(facts.unreachable[host]).splitlines()[0]
                hosts[host] = memo["hosts"][host]
                continue
            hosts[host] = {}
            for resource in resources:
                seen = facts.seen[host][resource.key]
                if seen.unknown:
                    unread[f"{host} {resource.key}"] = seen.unknown
                    hosts[host][resource.key] = memo["hosts"][host][resource.key]
                elif seen.actual is not None:
                    hosts[host][resource.key] = to_wire(seen.actual)
                    observed |= resource.observed(seen.out)
        for place, reason in unread.items():
            self._log("warning", f"{place}: not read, shown as of the last up: {reason}", urn, False)
        self._unread[urn] = unread
        return hosts, observed or dict(memo.get("observed") or {})

    def delete(self, urn: str, properties: Mapping[str, Any]) -> None:
        """Removes the stage; with the claim goes all that carries the stack's name, and a scan finds nothing left."""
        stage = wire.stage_of(properties)
        try:
            if stage.name == "claim":
                self._remove_by_name(urn, stage, properties)
            going = wire.claims_only(stage) if stage.keep or stage.name == "claim" else stage
            if going.hosts:
                self._run(urn, going, properties, absent=True)
        except (Unreachable, Blocked) as error:
            raise type(error)(*_explained(error, urn)) from error

    def _remove_by_name(self, urn: str, claim: Stage, properties: Mapping[str, Any]) -> None:
        """What no stage of the state has: an `up` that failed left it."""
        fleet = properties["fleet"]
        claims = (r for resources in claim.hosts.values() for r in resources if isinstance(r, Claim))
        removal.remove(
            wire.fleet_of(properties),
            properties["stack"],
            self._connect(properties),
            backend=next((it.backend for it in claims), ""),
            holder=_holder(properties["stack"]),
            lock_dir=lock_dir(fleet["slurm"], fleet["storage"]),
            say=self._say(urn),
        )

    def cancel(self) -> None:
        """Ends waiting."""
        self._stop.set()

    def _say(self, urn: str) -> Callable[[str, str], None]:
        """Passes progress on; a host's line again only after REPEAT_S: a log without a terminal keeps each."""
        shown: dict[str, tuple[str, float]] = {}

        def say(host: str, line: str) -> None:
            now = time.monotonic()
            text, at = shown.get(host, ("", 0.0))
            if line and (line != text or now - at > REPEAT_S):
                shown[host] = (line, now)
                self._log("info", f"{host}: {line}", urn, True)

        return say

    def _connect(self, properties: Mapping[str, Any]) -> Connect:
        """One set of connections for each distinct way to reach the fleet, for the life of the process."""
        stop = self._stop if properties["stage"] in (*INTERRUPTIBLE, READ) else None
        key = (_way(properties), stop is not None)
        with self._guard:
            if key not in self._connections:
                from hosts.remote import Connections  # noqa: PLC0415 - what it imports takes longer than the rest

                self._connections[key] = Connections(wire.fleet_of(properties), stop, self._slow)
            return self._connections[key]

    def _run(self, urn: str, stage: Stage, properties: Mapping[str, Any], *, absent: bool = False) -> Report:
        fleet = properties["fleet"]
        secrets = SecretStore(secrets_folder(os.environ, Path.home()), os.environ, self._secrets, fleet["name"])
        report = converge(
            stage,
            self._connect(properties),
            apply=True,
            absent=absent,
            secrets=secrets,
            lock_dir=lock_dir(fleet["slurm"], fleet["storage"]),
            holder=_holder(properties["stack"]),
            say=self._say(urn),
        )
        try:
            report.raise_errors()
        except Cancelled as error:
            raise Cancelled(f"{error}; `invoke teardown -s {properties['stack']}` ends it") from error
        return report

    def _reads_of(self, memo: Mapping[str, Any]) -> Reads:
        """The reads of a fleet; a cancel ends them, since they change nothing."""
        with self._guard:
            return self._reads.setdefault(_way(memo), Reads(lambda: self._connect({**memo, "stage": READ})))

    def _slow(self, host: str, line: str) -> None:
        """Passes on that a host does not answer yet."""
        self._log("info", f"{host}: {line}", "", True)


def _holder(stack: str) -> str:
    """Who a host's lock says is at work."""
    return f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}, pulumi, stack {stack}"


def _way(properties: Mapping[str, Any]) -> str:
    """How a stage's fleet is reached, as a key."""
    return repr((properties["connect"], properties["fleet"]))


def _explained(error: SlipwayError, urn: str) -> tuple[Any]:
    hint = f"nothing was deleted; where that machine will never come back, tell Pulumi so: pulumi state delete '{urn}'"
    return ((*error.reasons, hint),) if isinstance(error, Blocked) else (f"{error}\n{hint}",)


def lock_dir(slurm: str, storage: str) -> str:
    """Where the lock of a fleet's hosts lies; on storage where we have no root. No stack's name begins with a dot."""
    return f"{storage}/.slipway/.lock" if slurm == "existing" else LOCK_DIR
