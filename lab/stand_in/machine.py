"""What a stand-in says and sees of its machine: log lines, GPU devices, the model's folder."""

import contextlib
import glob
import json
import os
import re
import socket
import sys
import threading
from pathlib import Path
from typing import NoReturn

DEVICES = ("/dev/nvidia[0-9]*", "/dev/slipway-gpu[0-9]*")
_lock = threading.Lock()
_name = "stand-in"


def named(program: str) -> None:
    """Every later line begins with `stand-in PROGRAM: `."""
    global _name  # noqa: PLW0603 - one process is one program
    _name = f"stand-in {program}"


def say(text: str) -> None:
    """One line of the log, whole, whatever other threads say."""
    with _lock, contextlib.suppress(OSError):  # who read it may be gone, and that is no reason to stop
        sys.stdout.write(f"{_name}: {text}\n")
        sys.stdout.flush()


def end(text: str) -> NoReturn:
    """`fail` from any thread: the whole process ends, whoever still reads what it says."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{_error(text)}\n")
        sys.stderr.flush()
    os._exit(1)


def fail(text: str) -> NoReturn:
    """End with exit status 1 and the reason, in the form that Slipway reads as a failure."""
    sys.exit(_error(text))


def _error(text: str) -> str:
    return f"{_name.replace(' ', '-')}: error: {text}"


def here() -> str:
    """This machine's name."""
    return socket.gethostname()


def gpus() -> list[str]:
    """The GPU devices that this process sees, or what stands in for them."""
    found = [path for pattern in DEVICES for path in glob.glob(pattern)]  # noqa: PTH207 - absolute patterns
    return sorted(found, key=lambda path: (re.sub(r"\d+$", "", path), int((re.findall(r"\d+$", path) or ["0"])[0])))


def gpu_words() -> str:
    """The same in words."""
    return " ".join(gpus()) or "none"


def need_gpus(count: int) -> None:
    """A rank whose GPU is not there fails, where there are any; one without any GPU stands in for those too."""
    seen = gpus()
    if seen and len(seen) < count:
        fail(f"CUDA error: invalid device ordinal: {count} ranks on {here()}, which has {len(seen)} GPU devices")


def need_model(model: str) -> None:
    """The model is a folder with a config.json; a stand-in fetches none."""
    path = Path(model) / "config.json"
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fail(f"found no {path}, wanted the model's folder (a stand-in fetches no model)")
    except (OSError, ValueError) as error:
        fail(f"{path} can't be read: {error}")
