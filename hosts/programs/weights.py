"""Reads, verifies and copies a model's files on a host; standard library only, sent by `hosts.resources.weights`.

probe PATH RECORD                     prints `file SHA256 SIZE NAME` for each file (`?` where not hashed yet) and `wrong WHAT`
make  PATH RECORD MANIFEST [SOURCE]   copies what is missing or altered from SOURCE, hashes all, and compares with MANIFEST
check PATH RECORD MANIFEST            exits 3 naming what is missing or altered; reads only what changed since `make`
"""

import hashlib
import json
import os
import sys

SMALL_BYTES = 32 << 20
"""Files up to this size are hashed at each probe; larger ones when their size or time of change moved."""
IGNORED = (".cache", ".git", ".slipway-partial")


def files(path):
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(f for f in folders if f not in IGNORED)
        for name in sorted(names):
            full = os.path.join(folder, name)
            if os.path.isfile(full) and not name.endswith(IGNORED):
                yield os.path.relpath(full, path), full


def sha256(full, say=None):
    digest, done = hashlib.sha256(), 0
    with open(full, "rb") as file:
        while chunk := file.read(8 << 20):
            digest.update(chunk)
            done += len(chunk)
            if say and done % (1 << 30) == 0:
                say(done)
    return digest.hexdigest()


def load(record):
    try:
        with open(record, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {"files": {}, "accepted": None}


def stamp(full):
    status = os.stat(full)
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def known(record, name, full):
    """The sha256 of a file where it is known or cheap, else `?`."""
    if os.path.getsize(full) <= SMALL_BYTES:
        return sha256(full)
    entry = record["files"].get(name)
    return entry[3] if entry and entry[:3] == stamp(full) else "?"


def index_problems(path):
    """Shards that the index names and the folder lacks, or whose size is not what their own header says."""
    names = set()
    for index in (n for n in sorted(os.listdir(path)) if n.endswith(".safetensors.index.json")):
        try:
            with open(os.path.join(path, index), encoding="utf-8") as file:
                names |= set(json.load(file)["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
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
            with open(full, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length)) if length < 1 << 28 else {}
            end = max(t["data_offsets"][1] for n, t in header.items() if n != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError):
            yield f"{name} has no valid safetensors header"
            continue
        if os.path.getsize(full) != 8 + length + end:
            yield f"{name} has {os.path.getsize(full)} bytes, its header says {8 + length + end}"


def read(path, record):
    return {name: (known(record, name, full), os.path.getsize(full)) for name, full in files(path)}


def differences(found, manifest):
    for line in manifest:
        digest, size, name = line.split(" ", 2)
        if name not in found:
            yield f"{name} is missing"
        elif found[name][0] == "?":
            yield f"{name} was altered after it was verified (or never verified)"
        elif found[name] != (digest, int(size)):
            yield f"{name} differs: {found[name][1]} bytes, sha256 {found[name][0][:12]}…; wanted {size} bytes, {digest[:12]}…"


def lines_of(manifest, record):
    with open(manifest, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line]
    return lines or record["accepted"] or []


def probe(path, record_path):
    if not os.path.isdir(path):
        print("absent")
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


def check(path, record_path, manifest):
    record = load(record_path)
    wanted = lines_of(manifest, record)
    wrong = list(differences(read(path, record), wanted)) if os.path.isdir(path) else [f"{path} is missing"]
    for line in wrong or ([] if wanted else ["nothing was ever verified here"]):
        print(f"weights: {path}: {line}")
    sys.exit(3 if wrong or not wanted else 0)


def make(path, record_path, manifest, source=""):
    record = load(record_path)
    wanted = lines_of(manifest, {"accepted": None})
    if source:
        copy(path, record, wanted, source)
    if not os.path.isdir(path):
        sys.exit(f"{path} is missing; put the model there, or name a source to copy it from")
    wrong = list(index_problems(path))
    total = sum(os.path.getsize(full) for _, full in files(path)) or 1
    done = 0
    for name, full in files(path):
        if known(record, name, full) == "?":
            now = stamp(full)
            digest = sha256(
                full, lambda n, base=done: print(f"verifying {path}: {100 * (base + n) // total} %", flush=True)
            )
            record["files"][name] = [*now, digest]
            save(record_path, record)
        done += os.path.getsize(full)
    found = read(path, record)
    if not wanted:
        wanted = record["accepted"] or [f"{digest} {size} {name}" for name, (digest, size) in sorted(found.items())]
    wrong += differences(found, wanted)
    if wrong:
        sys.exit("\n".join(f"{path}: {line}" for line in wrong))
    record["accepted"] = wanted
    save(record_path, record)
    print(f"verified {len(wanted)} files, {total} bytes")


def copy(path, record, wanted, source):
    """Copies each file that is missing or differs, beside its place and then over it; a cut copy is begun anew."""
    if not os.path.isdir(source):
        sys.exit(f"the source {source} is missing")
    names = [line.split(" ", 2)[2] for line in wanted] or [name for name, _ in files(source)]
    found = read(path, record) if os.path.isdir(path) else {}
    good = {line.split(" ", 2)[2] for line in wanted} - {d.split(" ")[0] for d in differences(found, wanted)}
    for n, name in enumerate(names):
        start, target = os.path.join(source, name), os.path.join(path, name)
        if name in good:
            continue
        if not os.path.isfile(start):
            sys.exit(f"{start} is missing")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        print(f"copying {name} ({n + 1} of {len(names)})", flush=True)
        with open(start, "rb") as reader, open(target + ".slipway-partial", "wb") as writer:
            while chunk := reader.read(8 << 20):
                writer.write(chunk)
        os.replace(target + ".slipway-partial", target)


def save(record_path, record):
    with open(record_path + ".new", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(record_path + ".new", record_path)


if __name__ == "__main__":
    {"probe": probe, "make": make, "check": check}[sys.argv[1]](*sys.argv[2:])
