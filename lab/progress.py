"""Lines that tell a person what happens, each with the seconds since the start."""

import sys
import threading
import time
from collections.abc import Callable

Say = Callable[[str], None]


def speaker(stream: str = "stdout") -> Say:
    """A `Say` that counts from now; lines of several threads never mix."""
    began, lock = time.monotonic(), threading.Lock()

    def say(text: str) -> None:
        with lock:
            print(f"[{time.monotonic() - began:6.1f} s] {text}", file=getattr(sys, stream), flush=True)

    return say


def silent(text: str) -> None:
    """A `Say` for callers that want nothing printed."""
