"""A Pulumi language host for Python: runs one program for the CLI that started it, in this interpreter.

Pulumi's own host is a Go program that comes with the official CLI and cannot be built from the module that the CLI
is built from. Where the official CLI is installed, its own host is used and this one never starts.
"""

import os
import runpy
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType

import grpc
from pulumi import RunError
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

PARENT_POLL_S = 0.5


class Host(LanguageServer):
    """The SDK's own server, which runs inline programs, made to run the program that a request names."""

    def __init__(self, engine_address: str) -> None:
        super().__init__(lambda: None)
        self._engine_address = engine_address

    def Handshake(
        self, _request: language_pb2.LanguageHandshakeRequest, _context: grpc.ServicerContext
    ) -> language_pb2.LanguageHandshakeResponse:
        return language_pb2.LanguageHandshakeResponse()

    def Run(self, request: language_pb2.RunRequest, context: grpc.ServicerContext) -> language_pb2.RunResponse:
        entry = (Path(request.info.program_directory) / request.info.entry_point).resolve()
        os.chdir(request.pwd)
        sys.argv = [str(entry), *request.args]
        request.args.insert(0, self._engine_address)  # where the SDK's server looks for it
        self.program = partial(run_program, entry)
        response: language_pb2.RunResponse = super().Run(request, context)  # type: ignore[no-untyped-call]
        # The error is in the engine's log already; as the response's own it would be shown a second time.
        return language_pb2.RunResponse(bail=True) if response.error else response


def run_program(entry: Path) -> None:
    """Runs a file, or a folder's `__main__.py`; what it raises is told from its own lines on, not from ours."""
    try:
        runpy.run_path(str(entry), run_name="__main__")
    except RunError:
        raise
    except Exception as failure:
        trace = failure.__traceback__
        while trace and entry not in (path := Path(trace.tb_frame.f_code.co_filename), *path.parents):
            trace = trace.tb_next
        lines = traceback.format_exception(type(failure), failure, trace or failure.__traceback__)
        raise RunError(f"Program failed with an unhandled exception:\n{''.join(lines)}") from failure


def leave(_number: int = 0, _frame: FrameType | None = None) -> None:
    """Ends the process at once: an orderly exit would wait for the running program and print its traceback."""
    os._exit(0)


def leave_with_parent(parent: int) -> None:
    """Ends the process when the CLI is gone: a killed CLI has no chance to end it."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    leave()


def main() -> None:
    """Serves on a free port of loopback, which it prints; the last argument is the engine's address."""
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=leave_with_parent, args=(os.getppid(),), daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(Host(sys.argv[-1]), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
