"""Puts the stand-ins where they run: a wheel named `sglang`, and TensorRT-LLM's programs in an image's root.

    python -m lab.stand_in.install FOLDER

writes the wheel into a folder and its hash into the environment that pins it: to be run when a stand-in has changed.
"""

import base64
import hashlib
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = HERE.parent.parent / "infra" / "engines" / "flags"
PINNED_IN = FLAGS.parent.parent / "environments" / "sglang-0.5.23-lab" / "requirements.txt"
PACKAGE = "slipway_stand_in"
"""What `lab.stand_in` is called there."""
NAME, VERSION = "sglang", "0.5.23+standin"
WHEEL = f"{NAME}-{VERSION}-py3-none-any.whl"
SGLANG_TABLE, TRTLLM_TABLE = "sglang-0.5.23.json", "trtllm-1.3.0rc3.json"
SHIPPED = ("__init__", "api", "arguments", "machine", "world")
SGLANG_MODULES, TRTLLM_MODULES = ("sglang", "transfer"), ("llm_args", "trtllm")
EPOCH = (1980, 1, 1, 0, 0, 0)
INFO = f"{NAME}-{VERSION}.dist-info"
METADATA = f"""Metadata-Version: 2.1
Name: {NAME}
Version: {VERSION}
Summary: A stand-in for SGLang 0.5.23: its command line and its API, and no model
Requires-Python: >=3.10
"""
WHEEL_FILE = "Wheel-Version: 1.0\nGenerator: slipway\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
LAUNCH_SERVER = f'''"""`python -m sglang.launch_server`: a stand-in."""

import sys

from {PACKAGE}.sglang import main

if __name__ == "__main__":
    main(sys.argv[1:])
'''
PROGRAM = f"""#!/usr/bin/python3
# A stand-in for TensorRT-LLM: its command line and its API, and no model.
import sys

sys.path.insert(0, "/usr/local/lib/{PACKAGE}")
from {PACKAGE}.trtllm import %s

%s(sys.argv[1:])
"""


def build_wheel(folder: Path) -> Path:
    """Write SGLang's wheel; the same bytes on every machine, as `lab.repack` says how."""
    files = {f"{PACKAGE}/{name}": text for name, text in _package(SGLANG_MODULES, SGLANG_TABLE).items()}
    files |= {
        f"{NAME}/__init__.py": f'"""A stand-in for SGLang."""\n\n__version__ = "{VERSION}"\n',
        f"{NAME}/launch_server.py": LAUNCH_SERVER,
        f"{INFO}/METADATA": METADATA,
        f"{INFO}/WHEEL": WHEEL_FILE,
        f"{INFO}/entry_points.txt": f"[console_scripts]\nsglang = {PACKAGE}.sglang:command\n",
    }
    record = "".join(f"{name},sha256={_digest(files[name])},{len(files[name].encode())}\n" for name in sorted(files))
    target = folder / WHEEL
    partial = folder / f".{WHEEL}.partial"
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as wheel:
        for name, text in (*sorted(files.items()), (f"{INFO}/RECORD", f"{record}{INFO}/RECORD,,\n")):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o100644 << 16
            info.create_system = 3
            wheel.writestr(info, text)
    partial.replace(target)
    return target


def install_trtllm(root: Path) -> None:
    """Write `trtllm-serve` and `trtllm-llmapi-launch` below an image's root; they need its python3 and python3-yaml."""
    library, programs = root / "usr/local/lib" / PACKAGE / PACKAGE, root / "usr/local/bin"
    for folder in (library, programs):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in _package(TRTLLM_MODULES, TRTLLM_TABLE).items():
        (library / name).write_text(text, encoding="utf-8")
    for name, function in (("trtllm-serve", "main"), ("trtllm-llmapi-launch", "launch")):
        path = programs / name
        path.write_text(PROGRAM % (function, function), encoding="utf-8")
        path.chmod(0o755)


def _package(modules: tuple[str, ...], table: str) -> Mapping[str, str]:
    """The package's files under its installed name, with the flag table beside them."""
    files = {f"{name}.py": (HERE / f"{name}.py").read_text(encoding="utf-8") for name in (*SHIPPED, *modules)}
    renamed = {name: text.replace("lab.stand_in", PACKAGE) for name, text in files.items()}
    return {**renamed, table: (FLAGS / table).read_text(encoding="utf-8")}


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def main(folder: Path) -> None:
    """Make the wheel, and pin it."""
    digest = hashlib.sha256(build_wheel(folder).read_bytes()).hexdigest()
    line = re.escape(f"{NAME}=={VERSION} --hash=sha256:")
    PINNED_IN.write_text(re.sub(rf"(?m)^({line}).*$", rf"\g<1>{digest}", PINNED_IN.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
