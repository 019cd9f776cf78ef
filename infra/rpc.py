"""Pulumi's resource provider protocol: gRPC messages to plain values and back, around one `StageProvider`.

The SDK's generated messages are used and the SDK itself is not: importing it takes longer than all else that a start
does, twice in each `up`, and its values wrap each text of each message (ADR 22).
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeVar

import grpc
from google.protobuf import empty_pb2, struct_pb2

from hosts.errors import SlipwayError
from hosts.text import printable
from infra.provider import Log, Severity, StageProvider
from infra.wire import How, Plain


@contextlib.contextmanager
def _without_sdk() -> Iterator[None]:
    """Lets `pulumi.runtime.proto` be imported alone: for that time its parents are empty packages of the same place."""
    place = next(iter(getattr(find_spec("pulumi"), "submodule_search_locations", None) or [""]))
    parents = {} if "pulumi" in sys.modules else {"pulumi": place, "pulumi.runtime": f"{place}/runtime"}
    for name, folder in parents.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [folder]
    try:
        yield
    finally:
        for name in parents:
            del sys.modules[name]


with _without_sdk():
    from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc

SIGNATURE = "4dabf18193072939515e22adb298388d"
"""The key that marks a mapping as something else; of these only secrets and outputs reach a provider, as `value`."""
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The text that stands for a value that is not known in a preview."""
MAX_MESSAGE_BYTES = 400 << 20
VERSION = "0.1.0"
CALLS = 64
"""How many calls are served at once: `PULUMI_PARALLEL` stages, and a cancel."""

Context = grpc.ServicerContext
Answer = TypeVar("Answer")


def plain(value: struct_pb2.Value) -> Plain:
    """A value as plain Python: secrets unwrapped, what is unknown None."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return None if value.string_value == UNKNOWN else value.string_value
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields:
            return plain(fields["value"]) if "value" in fields else None
        return {name: plain(item) for name, item in fields.items()}
    if kind == "list_value":
        return [plain(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def plain_map(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A message's properties as plain Python."""
    return {name: plain(item) for name, item in struct.fields.items()}


def with_changes(struct: struct_pb2.Struct, changes: Mapping[str, Plain]) -> struct_pb2.Struct:
    """The properties with some of them replaced."""
    made = struct_pb2.Struct()
    made.CopyFrom(struct)
    made.update(changes)
    return made


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """The methods that the engine calls; expected errors become their message, and nothing of Python's."""

    def __init__(self, stages: StageProvider, version: str) -> None:
        self._stages = stages
        self._version = version

    def GetPluginInfo(self, _request: empty_pb2.Empty, _context: Context) -> plugin_pb2.PluginInfo:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(  # noqa: N802
        self, _request: provider_pb2.GetSchemaRequest, _context: Context
    ) -> provider_pb2.GetSchemaResponse:
        return provider_pb2.GetSchemaResponse(schema="")

    def CheckConfig(self, request: provider_pb2.CheckRequest, _context: Context) -> provider_pb2.CheckResponse:  # noqa: N802
        """The project's config, which is the provider's too: it has been checked by the program."""
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, _request: provider_pb2.DiffRequest, _context: Context) -> provider_pb2.DiffResponse:  # noqa: N802
        """A changed config never replaces what a provider made, and is no change to show."""
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(  # noqa: N802
        self, request: provider_pb2.ConfigureRequest, _context: Context
    ) -> provider_pb2.ConfigureResponse:
        self._stages.configure(plain_map(request.args).get("secrets"))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=False)

    def Check(self, request: provider_pb2.CheckRequest, _context: Context) -> provider_pb2.CheckResponse:  # noqa: N802
        wrong = self._stages.check(plain_map(request.news))
        if wrong:
            failure = provider_pb2.CheckFailure(property="hosts", reason=wrong)
            return provider_pb2.CheckResponse(inputs=request.news, failures=[failure])
        inputs = struct_pb2.Struct()
        inputs.CopyFrom(request.news)
        inputs.fields.pop("observed", None)
        return provider_pb2.CheckResponse(inputs=inputs)

    def Diff(self, request: provider_pb2.DiffRequest, _context: Context) -> provider_pb2.DiffResponse:  # noqa: N802
        found = self._stages.diff(request.urn, plain_map(request.olds), plain_map(request.news))
        some, none = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some if found else none,
            diffs=["hosts"] if found else [],
            hasDetailedDiff=True,
            detailedDiff={path: provider_pb2.PropertyDiff(kind=_KINDS[how]) for path, how in found.items()},
        )

    def Create(self, request: provider_pb2.CreateRequest, context: Context) -> provider_pb2.CreateResponse:  # noqa: N802
        properties = plain_map(request.properties)
        observed = _said(context, lambda: self._stages.create(request.urn, properties))
        return provider_pb2.CreateResponse(
            id=f"{properties['stack']}/{properties['stage']}",
            properties=with_changes(request.properties, {"observed": observed}),
        )

    def Update(self, request: provider_pb2.UpdateRequest, context: Context) -> provider_pb2.UpdateResponse:  # noqa: N802
        old, new = plain_map(request.olds), plain_map(request.news)
        observed = _said(context, lambda: self._stages.update(request.urn, old, new))
        return provider_pb2.UpdateResponse(properties=with_changes(request.news, {"observed": observed}))

    def Read(self, request: provider_pb2.ReadRequest, context: Context) -> provider_pb2.ReadResponse:  # noqa: N802
        memo = plain_map(request.properties)
        hosts, observed = _said(context, lambda: self._stages.read(request.urn, memo))
        # most often nothing has changed, and building the large messages again takes longer than looking
        same = hosts == memo["hosts"]
        properties = with_changes(request.properties, {"observed": observed} | ({} if same else {"hosts": hosts}))
        if same and plain(request.inputs.fields["hosts"]) == hosts:
            return provider_pb2.ReadResponse(id=request.id, properties=properties, inputs=request.inputs)
        inputs = with_changes(request.inputs, {"hosts": hosts})
        return provider_pb2.ReadResponse(id=request.id, properties=properties, inputs=inputs)

    def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> empty_pb2.Empty:  # noqa: N802
        properties = plain_map(request.properties)
        _said(context, lambda: self._stages.delete(request.urn, properties))
        return empty_pb2.Empty()

    def Cancel(self, _request: empty_pb2.Empty, _context: Context) -> empty_pb2.Empty:  # noqa: N802
        self._stages.cancel()
        return empty_pb2.Empty()


_KINDS: Mapping[How, provider_pb2.PropertyDiff.Kind.ValueType] = {
    "add": provider_pb2.PropertyDiff.ADD,
    "delete": provider_pb2.PropertyDiff.DELETE,
    "update": provider_pb2.PropertyDiff.UPDATE,
}


def _said(context: Context, work: Callable[[], Answer]) -> Answer:
    """What the work returns; an expected error ends the call with its message."""
    try:
        return work()
    except SlipwayError as error:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, printable(str(error)))
        raise


def engine_log(address: str) -> Log:
    """The engine's log; ephemeral lines show on the resource's own line while it works."""
    severities = {"info": engine_pb2.INFO, "warning": engine_pb2.WARNING}

    @cache
    def stub() -> engine_pb2_grpc.EngineStub:
        return engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def log(severity: Severity, message: str, urn: str, ephemeral: bool) -> None:
        request = engine_pb2.LogRequest(severity=severities[severity], message=message, urn=urn, ephemeral=ephemeral)
        with contextlib.suppress(grpc.RpcError):  # it is gone or busy; what was done does not depend on having said it
            stub().Log(request, timeout=10)

    return log


def end_with_parent() -> None:
    """Ends this process when the engine that started it is gone: nobody is left to answer; the hosts go on alone."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> None:
    """Serves on a free port of loopback, and prints it, as the engine expects; its interrupt is the end."""
    address = next((a for a in reversed(sys.argv[1:]) if not a.startswith("-")), "")
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(0))
    threading.Thread(target=end_with_parent, daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(CALLS), options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    servicer = Servicer(StageProvider(engine_log(address)), VERSION)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
