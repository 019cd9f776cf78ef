"""Writes Conda packages (the .tar.bz2 format) from a tree of files: same tree, same bytes."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What `info/index.json` says of a package; `entry_points` are those of a noarch Python package."""

    name: str
    version: str
    subdir: str
    summary: str
    license: str
    depends: Sequence[str] = ()
    entry_points: Sequence[str] = ()
    build: str = "0"

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}-{self.build}.tar.bz2"

    def index(self) -> Mapping[str, object]:
        noarch: Mapping[str, object] = (
            {"noarch": "python"} if self.subdir == "noarch" else {"arch": "x86_64", "platform": "linux"}
        )
        return {
            "name": self.name, "version": self.version, "build": self.build, "build_number": 0, "subdir": self.subdir,
            "depends": list(self.depends), "license": self.license, **noarch,
        }  # fmt: skip


def write(package: Package, tree: Path, channel: Path, *, placeholder: str = "") -> Path:
    """Pack `tree` into the channel; in text files, `placeholder` becomes the prefix when they are linked."""
    files = sorted(path for path in tree.rglob("*") if path.is_symlink() or not path.is_dir())
    info = {
        "index.json": _json(package.index()),
        "paths.json": _json({"paths": [_entry(path, tree, placeholder) for path in files], "paths_version": 1}),
        "files": "".join(f"{path.relative_to(tree)}\n" for path in files).encode(),
        "about.json": _json({"summary": package.summary, "license": package.license}),
    }
    if package.entry_points:
        noarch = {"type": "python", "entry_points": list(package.entry_points)}
        info["link.json"] = _json({"noarch": noarch, "package_metadata_version": 1})
    target = channel / package.subdir / package.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    with tarfile.open(partial, "w:bz2", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(info.items()):
            member = tarfile.TarInfo(f"info/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for path in files:
            archive.add(path, str(path.relative_to(tree)), recursive=False, filter=_anonymous)
    partial.replace(target)
    return target


def _entry(path: Path, tree: Path, placeholder: str) -> Mapping[str, object]:
    content = path.read_bytes()
    entry: dict[str, object] = {
        "_path": str(path.relative_to(tree)),
        "path_type": "softlink" if path.is_symlink() else "hardlink",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_in_bytes": len(content),
    }
    # Only in text: linkers share the tails of strings, and a replacement inside a binary breaks others (`sys.version`).
    if placeholder and not path.is_symlink() and placeholder.encode() in content and b"\0" not in content:
        entry |= {"prefix_placeholder": placeholder, "file_mode": "text"}
    return entry


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
