"""Runs commands for named parts of the set-up: never a silent minute, never a child left behind."""

import os
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

Words = Sequence[str | Path]

SIGN_OF_LIFE_S = 10.0
LAST_LINES = 12
GRACE_S = 5.0


class SetupFailed(Exception):
    """A part of the set-up could not be done; the message says which, what was found and what to do."""


class Stopped(Exception):
    """The set-up was told to stop while this part was running."""


class Progress:
    """Progress lines of several parts at once: `[  12 s] cli    compiling Pulumi`."""

    def __init__(self, *, logs: Path, sign_of_life_s: float = SIGN_OF_LIFE_S) -> None:
        self._logs = logs
        self._sign_of_life_s = sign_of_life_s
        self._start_s = time.monotonic()
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._logged: set[str] = set()
        self._stopping = False

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start_s

    def say(self, part: str, text: str) -> None:
        with self._lock:
            print(f"[{self.elapsed_s:4.0f} s] {part:<8} {text}", flush=True)

    def run(
        self,
        part: str,
        argv: Words,
        *,
        doing: str,
        fix: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        echo: bool = False,
        measure: Callable[[Sequence[str]], str] | None = None,
    ) -> str:
        """The command's output, standard error included; raises SetupFailed with its last lines and `fix`.

        With `echo` its own lines are shown (it tells its own progress); else a sign of life every 10 s,
        with what `measure` makes of the lines so far.
        """
        self.say(part, doing)
        log = self._logs / f"setup-{part}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab" if part in self._logged else "wb") as copy, self._child(argv, env=env, cwd=cwd) as child:
            self._logged.add(part)
            copy.write(f"\n$ {shlex.join(map(str, argv))}\n".encode())
            copy.flush()
            lines = self._follow(part, child, doing=doing, echo=echo, measure=measure, copy_fd=copy.fileno())
            status = child.wait()
        if self._stopping:
            raise Stopped(part)
        if status != 0:
            last = [] if echo else ["its last lines:", *(f"  {line}" for line in deque(lines, LAST_LINES))]
            told = [f"ended with status {status}", *last, f"all of it: {log}", f"what to do: {fix}"]
            raise SetupFailed("\n  ".join([f"{part}: {shlex.join(map(str, argv))}", *told]))
        return "\n".join(lines)

    def stop(self) -> None:
        """Ends every running command with all that it started, and lets none start any more."""
        with self._lock:
            self._stopping = True
            children = set(self._children)
        for child in children:
            signal_group(child, signal.SIGTERM)
        for child in children:
            end(child)

    @contextmanager
    def _child(
        self, argv: Words, *, env: Mapping[str, str] | None, cwd: Path | None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A child that does not outlive this block, however it is left."""
        with self._lock:
            if self._stopping:
                raise Stopped(str(argv[0]))
            child = subprocess.Popen(
                [str(word) for word in argv],
                env=None if env is None else dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that stop() reaches the compilers and pip's own children too
            )
            self._children.add(child)
        try:
            yield child
        finally:
            end(child)
            with self._lock:
                self._children.discard(child)

    def _follow(
        self,
        part: str,
        child: subprocess.Popen[bytes],
        *,
        doing: str,
        echo: bool,
        measure: Callable[[Sequence[str]], str] | None,
        copy_fd: int,
    ) -> list[str]:
        assert child.stdout is not None
        lines: list[str] = []
        rest = b""
        spoken_s = time.monotonic()
        with child.stdout as stdout, selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                if selector.select(max(0.0, spoken_s + self._sign_of_life_s - time.monotonic())):
                    chunk = os.read(stdout.fileno(), 65536)
                    if not chunk:
                        break
                    os.write(copy_fd, chunk)
                    *complete, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
                    for line in complete:
                        lines.append(line.decode(errors="replace").rstrip())
                        if echo:
                            self.say(part, lines[-1])
                            spoken_s = time.monotonic()
                if time.monotonic() - spoken_s >= self._sign_of_life_s:
                    self.say(part, f"still {doing}{measure(lines) if measure else ''}")
                    spoken_s = time.monotonic()
        if rest:
            lines.append(rest.decode(errors="replace").rstrip())
        return lines


def end(child: subprocess.Popen[bytes]) -> None:
    """Ends a child that is still running, with all that it started."""
    if child.poll() is None:
        signal_group(child, signal.SIGTERM)
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            signal_group(child, signal.SIGKILL)


def signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signals the child's whole process group, if there still is one."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def complain(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
