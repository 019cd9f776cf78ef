"""Reads, verifies and copies a model's files on a host; sent by `hosts.resources.weights`.

probe PATH RECORD
    prints `file SHA256 SIZE NAME` for each file (`?` where not hashed yet) and `wrong WHAT`; or `untrusted WHAT` alone
make PATH RECORD MANIFEST [SOURCE]
    copies what is missing or altered from SOURCE, hashes all, and compares with MANIFEST
check PATH RECORD MANIFEST
    exits 3 naming what is missing or altered; reads only what changed since `make`

Standard library of Python 3.10 only.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import stat
import sys
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Found = Mapping[str, tuple[str, int]]
    """By name: sha256 (`?` where it is not known) and size in bytes."""

SMALL_BYTES = 32 << 20
"""Files up to this size are hashed at each probe; larger ones when their size or time of change moved."""
CHUNK_BYTES = 8 << 20
MAX_HEADER_BYTES = 1 << 28
IGNORED = (".cache", ".git", ".slipway-partial", ".slipway-copy")


class Record(TypedDict):
    """What was hashed: size, mtime in ns, inode and sha256 by name, and the manifest that was accepted in the end."""

    files: dict[str, list[int | str]]
    accepted: list[str] | None


def files(path: str) -> Iterator[tuple[str, str]]:
    """(name below the path, full path) of each file, in the order of names."""
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(f for f in folders if f not in IGNORED)
        for name in sorted(names):
            full = os.path.join(folder, name)
            if os.path.isfile(full) and not name.endswith(IGNORED):
                yield os.path.relpath(full, path), full


def sha256(full: str, say: Callable[[int], None] | None = None) -> str:
    digest, done = hashlib.sha256(), 0
    with open(full, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if say and done % (1 << 30) == 0:
                say(done)
    return digest.hexdigest()


def others(path: str) -> str:
    """What below a folder another user owns or may write to, code included; "" where there is nothing.

    Of a link it is the file that it leads to, and the folders on the way there.
    """
    seen: set[str] = set()
    for folder, folders, names in os.walk(path):
        folders[:] = [f for f in folders if f not in IGNORED]
        for full in (folder, *(os.path.join(folder, name) for name in names)):
            place = os.path.realpath(full)
            while place not in seen:
                seen.add(place)
                if os.path.lexists(place) and (why := another(place, os.lstat(place))):
                    return why
                place = os.path.dirname(place)
    return ""


def another(path: str, status: os.stat_result) -> str:
    """Whose doing what is at a path may be, where that is neither root nor we; by the rules of `hosts.trust`."""
    caller = {int(os.environ.get("SUDO_UID", "0"))} if os.geteuid() == 0 else set()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in {0, os.geteuid()} | caller:
        wanted = " or ".join(dict.fromkeys(("root", account(os.geteuid()))))
        return f"{path} is owned by {account(status.st_uid)} (mode {mode:04o}), wanted {wanted}; change its owner"
    if stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX:
        return ""
    # with an access list the group's bits are a mask, and say nothing of whom it lets write
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and (listed(path) or not own_group(status.st_gid))):
        return f"{path} is writable by others (mode {mode:04o}); run chmod go-w"
    return ""


def listed(path: str) -> bool:
    """Whether a file has an access list (ACL)."""
    try:
        return "system.posix_acl_access" in os.listxattr(path, follow_symlinks=False)
    except OSError:
        return False


def account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def own_group(gid: int) -> bool:
    """Whether only we are in a group: root's, or that of our own name."""
    try:
        found = grp.getgrgid(gid)
    except KeyError:
        return False
    ours = account(os.geteuid())
    return gid == 0 or (found.gr_name == ours and set(found.gr_mem) <= {ours})


def load(record_path: str) -> Record:
    """The record; one that is missing, damaged or another user's is an empty one, and everything is hashed again."""
    try:
        with os.fdopen(os.open(record_path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
            if another(record_path, os.fstat(file.fileno())):
                return {"files": {}, "accepted": None}
            found = json.load(file)
        return {"files": dict(found["files"]), "accepted": found["accepted"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"files": {}, "accepted": None}


def stamp(full: str) -> list[int | str]:
    status = os.stat(full)
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def known(record: Record, name: str, full: str) -> str:
    """The sha256 of a file where it is known or cheap, else `?`."""
    if os.path.getsize(full) <= SMALL_BYTES:
        return sha256(full)
    entry = record["files"].get(name)
    return str(entry[3]) if entry and entry[:3] == stamp(full) else "?"


def index_problems(path: str) -> Iterator[str]:
    """Shards that the index names and the folder lacks, or whose size is not what their own header says."""
    names: set[str] = set()
    for index in (n for n in sorted(os.listdir(path)) if n.endswith(".safetensors.index.json")):
        try:
            with open(os.path.join(path, index), encoding="utf-8") as file:
                names.update(map(str, json.load(file)["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"{index} can't be read: {error}"
    names |= {n for n in os.listdir(path) if n.endswith(".safetensors")}
    if not names:
        yield "no safetensors file"
    if not os.path.isfile(os.path.join(path, "config.json")):
        yield "config.json is missing"
    for name in sorted(names):
        full = os.path.join(path, name)
        if not os.path.isfile(full):
            yield f"{name} is missing"
            continue
        try:
            wanted = size_by_header(full)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            yield f"{name} has no valid safetensors header"
            continue
        if os.path.getsize(full) != wanted:
            yield f"{name} has {os.path.getsize(full)} bytes, its header says {wanted}"


def size_by_header(full: str) -> int:
    """How many bytes a safetensors file has by its own header. Raises whatever a header that is none leads to."""
    with open(full, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length)) if length < MAX_HEADER_BYTES else {}
    return 8 + length + max(int(t["data_offsets"][1]) for n, t in header.items() if n != "__metadata__")


def read(path: str, record: Record) -> Found:
    return {name: (known(record, name, full), os.path.getsize(full)) for name, full in files(path)}


def difference(found: Found, line: str) -> str:
    """How a file is not as its line in a manifest says; "" where it is."""
    digest, size, name = line.split(" ", 2)
    if name not in found:
        return f"{name} is missing"
    was, bytes_there = found[name]
    if was == "?":
        return f"{name} was altered after it was verified (or never verified)"
    if (was, bytes_there) != (digest, int(size)):
        return f"{name} differs: {bytes_there} bytes, sha256 {was[:12]}…; wanted {size} bytes, {digest[:12]}…"
    return ""


def differences(found: Found, manifest: Sequence[str]) -> Iterator[str]:
    return filter(None, (difference(found, line) for line in manifest))


def manifest_of(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return [line for line in file.read().splitlines() if line]


def probe(path: str, record_path: str) -> None:
    """Prints what is there and what is wrong with it; `end` last, so that a cut list is not taken for all."""
    if not os.path.isdir(path):
        print("absent")
        return
    if why := others(path):
        print("untrusted", why)
        return
    record = load(record_path)
    found = read(path, record)
    for name, (digest, size) in sorted(found.items()):
        print("file", digest, size, name)
    wrong = list(index_problems(path))
    accepted = record["accepted"]
    wrong += differences(found, accepted) if accepted else ["not verified yet"]
    for line in wrong:
        print("wrong", line)
    print("end")


def check(path: str, record_path: str, manifest: str) -> None:
    """Exits 3 where the files are not the manifest's, or not the accepted ones where the manifest is empty."""
    record = load(record_path)
    wanted = manifest_of(manifest) or record["accepted"] or []
    wrong = list(differences(read(path, record), wanted)) if os.path.isdir(path) else [f"{path} is missing"]
    for line in wrong or ([] if wanted else ["nothing was ever verified here"]):
        print(f"weights: {path}: {line}")
    sys.exit(3 if wrong or not wanted else 0)


def make(path: str, record_path: str, manifest: str, source: str = "") -> None:
    """Leaves a record of a folder that is right; exits with every line of what is not."""
    record = load(record_path)
    wanted = manifest_of(manifest)
    if source:
        copy(path, record, wanted, source)
    if not os.path.isdir(path):
        sys.exit(f"{path} is missing; put the model there, or name a source to copy it from")
    wrong = list(index_problems(path))
    total = hash_all(path, record_path, record)
    found = read(path, record)
    if not wanted:
        wanted = record["accepted"] or [f"{digest} {size} {name}" for name, (digest, size) in sorted(found.items())]
    wrong += differences(found, wanted)
    if wrong:
        sys.exit("\n".join(f"{path}: {line}" for line in wrong))
    record["accepted"] = wanted
    save(record_path, record)
    print(f"verified {len(wanted)} files, {total} bytes")


def hash_all(path: str, record_path: str, record: Record) -> int:
    """Hashes what is not known and records each file at once; the size of all files in bytes."""
    total = sum(os.path.getsize(full) for _, full in files(path))
    done = 0

    def say(read_bytes: int) -> None:
        print(f"verifying {path}: {100 * (done + read_bytes) // total} %", flush=True)

    for name, full in files(path):
        if known(record, name, full) == "?":
            now = stamp(full)
            record["files"][name] = [*now, sha256(full, say)]
            save(record_path, record)
        done += os.path.getsize(full)
    return total


def copy(path: str, record: Record, wanted: Sequence[str], source: str) -> None:
    """Copies each file that is missing or differs, beside its place and then over it; a cut copy is begun anew."""
    if not os.path.isdir(source):
        sys.exit(f"the source {source} is missing")
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, ".slipway-copy"), "w", encoding="utf-8") as mark:
        mark.write(source + "\n")  # what we copied we may remove again
    names = [line.split(" ", 2)[2] for line in wanted] or [name for name, _ in files(source)]
    found = read(path, record) if os.path.isdir(path) else {}
    good = {line.split(" ", 2)[2] for line in wanted if not difference(found, line)}
    for n, name in enumerate(names):
        start, target = os.path.join(source, name), os.path.join(path, name)
        if name in good:
            continue
        if not os.path.isfile(start):
            sys.exit(f"{start} is missing")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        print(f"copying {name} ({n + 1} of {len(names)})", flush=True)
        with open(start, "rb") as reader, open(target + ".slipway-partial", "wb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                writer.write(chunk)
        os.replace(target + ".slipway-partial", target)


def save(record_path: str, record: Record) -> None:
    if os.path.lexists(record_path + ".new"):
        os.unlink(record_path + ".new")
    with open(record_path + ".new", "x", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(record_path + ".new", record_path)


if __name__ == "__main__":
    modes: dict[str, Callable[..., None]] = {"probe": probe, "make": make, "check": check}
    modes[sys.argv[1]](*sys.argv[2:])
