"""Slipway's Pulumi provider: one resource a stage, and the same `converge` behind it that Invoke calls.

`check` and `diff` are pure; `read`, `create`, `update` and `delete` go to the machines. The machine is the truth and
Pulumi's state a memo: a host that can't be read keeps its memo and counts as changed, so a preview says so and an `up`
fails by name.
"""

import asyncio
import contextlib
import getpass
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf import empty_pb2
from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, provider_pb2_grpc

from hosts.converge import Report, converge, gather
from hosts.errors import Blocked, SlipwayError, Unreachable
from hosts.remote import Connections
from hosts.state import Stage, to_wire
from infra import wire
from infra.controller import secrets_folder
from infra.operate.absence import scan
from infra.operate.secrets import SecretStore
from infra.wire import Plain

VERSION = "0.1.0"
Properties = dict[str, PropertyValue]
Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")
INTERRUPTIBLE = "ready"
"""The one stage that only waits: a cancel ends it at once, the others finish what they have begun."""

REPEAT_S = 10.0

INFO, WARNING = engine_pb2.INFO, engine_pb2.WARNING


class StageProvider(p.Provider):
    """The six operations on a stage; `log` is where progress and warnings go."""

    def __init__(self, log: Callable[[int, str, str, bool], None]) -> None:
        self._log = log
        self._config: dict[str, str] = {}
        self._stop = threading.Event()
        self._unread: dict[str, dict[str, str]] = {}
        """By URN: the hosts, or host and key, that the last read could not tell, and why."""
        self._connections: dict[str, Connections] = {}
        self._guard = threading.Lock()
        self._said: set[tuple[str, str]] = set()

    async def check_config(self, request: p.CheckRequest) -> p.CheckResponse:
        """The project's config, which is the provider's too: it has been checked by the program."""
        return p.CheckResponse(inputs=request.new_inputs)

    async def diff_config(self, request: p.DiffRequest) -> p.DiffResponse:
        """A changed config never replaces what a provider made."""
        return p.DiffResponse(changes=request.old_state != request.new_inputs)

    async def configure(self, request: p.ConfigureRequest) -> p.ConfigureResponse:
        """Takes `slipway:secrets`, decrypted; it is kept in this process only."""
        secrets = _plain(request.args.get("secrets", PropertyValue.null()))
        if isinstance(secrets, str):
            secrets = json.loads(secrets)
        self._config = {str(k): str(v) for k, v in (secrets or {}).items()}
        return p.ConfigureResponse(
            accept_secrets=True, supports_preview=False, accept_resources=False, accept_outputs=False
        )

    async def check(self, request: p.CheckRequest) -> p.CheckResponse:
        """Refuses what is no stage."""
        try:
            wire.stage_of(_plain_map(request.new_inputs))
        except (ValueError, KeyError, TypeError) as error:
            return p.CheckResponse(inputs=request.new_inputs, failures=[p.CheckFailure("hosts", str(error))])
        return p.CheckResponse(inputs={k: v for k, v in request.new_inputs.items() if k != "observed"})

    async def diff(self, request: p.DiffRequest) -> p.DiffResponse:
        """Names each field that differs, and each host that was not read."""
        old, new = _plain_map(request.old_state), _plain_map(request.new_inputs)
        kinds = {
            "add": p.PropertyDiffKind.ADD,
            "delete": p.PropertyDiffKind.DELETE,
            "update": p.PropertyDiffKind.UPDATE,
        }
        detailed: dict[str, p.PropertyDiff] = {}
        by_host: dict[str, list[str]] = {}
        for found in wire.differences(old.get("hosts", {}), new.get("hosts", {})):
            detailed[found.path] = p.PropertyDiff(kinds[found.how], input_diff=False)
            sign = {"add": "+", "delete": "-", "update": "~"}[found.how]
            text = f"{sign} {found.key}" + (f" ({found.field})" if found.field else "")
            if text not in by_host.setdefault(found.host, []):
                by_host[found.host].append(text)
        for place in self._unread.get(request.urn, {}):
            detailed[f"hosts[{wire.quoted(place)}]"] = p.PropertyDiff(p.PropertyDiffKind.UPDATE, input_diff=False)
            by_host.setdefault(place, []).append("not read, so it counts as changed")
        for host, texts in by_host.items():
            more = f" and {len(texts) - 6} more" if len(texts) > 6 else ""
            line = f"{host}: {', '.join(texts[:6])}{more}"
            said = (request.urn, line)
            if said not in self._said:  # the engine asks for the same diff after a refresh and for the step
                self._said.add(said)
                await asyncio.to_thread(self._log, INFO, line, request.urn, False)
        return p.DiffResponse(changes=bool(detailed), detailed_diff=detailed, diffs=["hosts"] if detailed else [])

    async def create(self, request: p.CreateRequest) -> p.CreateResponse:
        """Converges; adopts what is there and ours."""
        properties = _plain_map(request.properties)
        observed = await asyncio.to_thread(self._converge, request.urn, properties)
        return p.CreateResponse(
            resource_id=f"{properties['stack']}/{properties['stage']}",
            properties=request.properties | {"observed": _value(observed)},
        )

    async def update(self, request: p.UpdateRequest) -> p.UpdateResponse:
        """Takes away what is no longer wanted, then converges."""
        old, new = _plain_map(request.olds), _plain_map(request.news)
        observed = await asyncio.to_thread(self._update, request.urn, old, new)
        return p.UpdateResponse(properties=request.news | {"observed": _value(observed)})

    async def read(self, request: p.ReadRequest) -> p.ReadResponse:
        """The actual state; where it can't be told, the memo, with a warning."""
        memo = _plain_map(request.properties)
        hosts, observed = await asyncio.to_thread(self._read, request.urn, memo)
        properties = request.properties | {"hosts": _value(hosts), "observed": _value(observed)}
        inputs = request.inputs | {"hosts": _value(hosts)}
        return p.ReadResponse(request.resource_id, properties, inputs)

    async def delete(self, request: p.DeleteRequest) -> None:
        """Removes the stage; the claim goes last, after a scan has found nothing left of the stack."""
        await asyncio.to_thread(self._delete, request.urn, _plain_map(request.properties))

    async def cancel(self) -> None:
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
                self._log(INFO, f"{host}: {line}", urn, True)

        return say

    def _connect(self, properties: Mapping[str, Any]) -> Connections:
        """One set of connections for each distinct way to reach the fleet, for the life of the process."""
        stop = self._stop if properties["stage"] == INTERRUPTIBLE else None
        key = repr((properties["connect"], properties["fleet"], stop is not None))
        with self._guard:
            if key not in self._connections:
                self._connections[key] = Connections(wire.fleet_of(properties), stop)
            return self._connections[key]

    def _run(self, urn: str, stage: Stage, properties: Mapping[str, Any], *, absent: bool = False) -> Report:
        fleet = properties["fleet"]
        secrets = SecretStore(secrets_folder(os.environ, Path.home()), os.environ, self._config, fleet["name"])
        report = converge(
            stage,
            self._connect(properties),
            apply=True,
            absent=absent,
            secrets=secrets,
            lock_dir=lock_dir(fleet["slurm"], fleet["storage"]),
            holder=f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}, pulumi, stack {properties['stack']}",
            say=self._say(urn),
        )
        report.raise_errors()
        return report

    def _converge(self, urn: str, properties: Mapping[str, Any]) -> dict[str, str]:
        stage = wire.stage_of(properties)
        return self._run(urn, stage, properties).observed(stage)

    def _update(self, urn: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
        gone = wire.without(wire.stage_of(old), new["hosts"])
        gone = wire.claims_only(gone) if gone.keep else gone
        if gone.hosts:
            self._run(urn, gone, old, absent=True)
        observed = self._converge(urn, new)
        self._unread.pop(urn, None)
        return observed

    def _read(self, urn: str, memo: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        stage = wire.stage_of(memo)
        facts = gather(stage, self._connect(memo))
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
            self._log(WARNING, f"{place}: not read, shown as of the last up: {reason}", urn, False)
        self._unread[urn] = unread
        return hosts, observed or dict(memo.get("observed") or {})

    def _delete(self, urn: str, properties: Mapping[str, Any]) -> None:
        stage = wire.stage_of(properties)
        say = self._say(urn)
        try:
            if stage.name == "claim":
                say("all hosts", f"looking for anything left of {properties['stack']}")
                scan(
                    wire.fleet_of(properties), properties["stack"], self._connect(properties), ignore_claims=True
                ).raise_left()
            going = wire.claims_only(stage) if stage.keep or stage.name == "claim" else stage
            if going.hosts:
                self._run(urn, going, properties, absent=True)
        except (Unreachable, Blocked) as error:
            raise type(error)(*_explained(error, urn)) from error


def _explained(error: SlipwayError, urn: str) -> tuple[Any]:
    hint = f"nothing was deleted; where that machine will never come back, tell Pulumi so: pulumi state delete '{urn}'"
    return ((*error.reasons, hint),) if isinstance(error, Blocked) else (f"{error}\n{hint}",)


def lock_dir(slurm: str, storage: str) -> str:
    """Where the lock of a fleet's hosts lies: /run/lock, or on storage where we have no root."""
    return f"{storage}/.slipway" if slurm == "existing" else "/run/lock"


def _plain(value: PropertyValue) -> Plain:
    """A property value as plain Python, secrets unwrapped, unknowns as None."""
    inner = value.value
    if isinstance(inner, Mapping):
        return {k: _plain(v) for k, v in inner.items()}
    if isinstance(inner, str | bool | float | int) or inner is None:
        return inner
    return [_plain(v) for v in inner] if hasattr(inner, "__iter__") else None


def _plain_map(values: Mapping[str, PropertyValue]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items()}


def _value(plain: Plain) -> PropertyValue:
    if isinstance(plain, Mapping):
        return PropertyValue({k: _value(v) for k, v in plain.items()})
    if isinstance(plain, list | tuple):
        return PropertyValue([_value(v) for v in plain])
    return PropertyValue(plain)


class Servicer(ProviderServicer):
    """The SDK's servicer, with our errors as messages instead of Python's names for them."""

    async def Create(  # noqa: N802
        self, request: provider_pb2.CreateRequest, context: Context
    ) -> provider_pb2.CreateResponse:
        return await _clean(super().Create(request, context), context)  # type: ignore[no-untyped-call]

    async def Update(  # noqa: N802
        self, request: provider_pb2.UpdateRequest, context: Context
    ) -> provider_pb2.UpdateResponse:
        return await _clean(super().Update(request, context), context)  # type: ignore[no-untyped-call]

    async def Read(  # noqa: N802
        self, request: provider_pb2.ReadRequest, context: Context
    ) -> provider_pb2.ReadResponse:
        return await _clean(super().Read(request, context), context)  # type: ignore[no-untyped-call]

    async def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> empty_pb2.Empty:  # noqa: N802
        return await _clean(super().Delete(request, context), context)  # type: ignore[no-untyped-call]


async def _clean(call: Awaitable[Answer], context: Context) -> Answer:
    try:
        return await call
    except SlipwayError as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))


def engine_log(address: str) -> Callable[[int, str, str, bool], None]:
    """The engine's log; ephemeral lines show on the resource's own line while it works."""

    @cache
    def stub() -> engine_pb2_grpc.EngineStub:
        return engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def log(severity: int, message: str, urn: str, ephemeral: bool) -> None:
        request = engine_pb2.LogRequest(severity=cast(Any, severity), message=message, urn=urn, ephemeral=ephemeral)
        with contextlib.suppress(grpc.RpcError):  # it is gone or busy; what was done does not depend on having said it
            stub().Log(request, timeout=10)

    return log


def watch_parent() -> None:
    """Ends this process when the engine that started it is gone: nobody is left to answer; the hosts go on alone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serves on a free port of loopback, and prints it, as the engine expects."""
    address = next((a for a in reversed(sys.argv[1:]) if not a.startswith("-")), "")

    watch_parent()

    async def serve() -> None:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 400 << 20)])
        servicer = Servicer(sys.argv[1:], VERSION, StageProvider(engine_log(address)), engine_address=address)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await server.wait_for_termination()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    main()
