"""Container images by hand: trees become layers, layers an OCI archive, in the same bytes for the same content."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OCI = "application/vnd.oci.image"
CREATED = "1970-01-01T00:00:00Z"
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A part of an archive: its media type, what it is addressed by, and its bytes or the file that has them."""

    media: str
    sha256: str
    size: int
    content: bytes | Path

    @property
    def descriptor(self) -> dict[str, object]:
        return {"mediaType": f"{OCI}.{self.media}", "digest": f"sha256:{self.sha256}", "size": self.size}


Layer = Blob


def layer(tree: Path, file: Path, *, built_s: float) -> Layer:
    """A tree as a tar `file`: sorted by name, owned by root, without devices; written since `built_s` is dated 1970.

    What is older came from packages and keeps its date: Python compares it with what the compiled form says.
    """
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in below(tree):
            info = tar.gettarinfo(path, str(path.relative_to(tree)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = 0 if info.mtime >= built_s else int(info.mtime)
            if info.isreg():
                with path.open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)
    return read_layer(file)


def read_layer(file: Path) -> Layer:
    """A tar that `layer` made earlier."""
    return blob("layer.v1.tar", file)


def below(tree: Path) -> Iterator[Path]:
    """Every folder, file and link in a tree, parents first, in an order that is the same everywhere."""
    for parent, folders, files in os.walk(tree):
        folders.sort()
        for path in (Path(parent, name) for name in sorted([*folders, *files])):
            if path.is_symlink() or path.is_dir() or path.is_file():
                yield path


def write(file: Path, name: str, layers: Sequence[Layer], config: Mapping[str, object], architecture: str) -> str:
    """Write an OCI archive of one image of the repository `name`; the digest of its manifest, 64 hexadecimal digits.

    Its tag is from the digest: one that moves would leave the image before without a name, and whoever runs that by
    name and digest with nothing. Layers are not compressed: tools then keep the manifest as it is, and so the digest.
    """
    history = [{"created": CREATED, "created_by": "slipway"} for _ in layers]
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{it.sha256}" for it in layers]}
    settings = document(
        "config.v1+json",
        {"created": CREATED, "architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs,
         "history": history},
    )  # fmt: skip
    manifest = document(
        "manifest.v1+json",
        {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": settings.descriptor,
         "layers": [it.descriptor for it in layers]},
    )  # fmt: skip
    named = {
        **manifest.descriptor,
        "annotations": {"org.opencontainers.image.ref.name": f"{name}:{manifest.sha256[:16]}"},
    }
    contents = {
        "oci-layout": document("", {"imageLayoutVersion": "1.0.0"}),
        "index.json": document("", {"schemaVersion": 2, "manifests": [named]}),
        **{f"blobs/sha256/{it.sha256}": it for it in (manifest, settings, *layers)},
    }
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for place, it in contents.items():
            info = tarfile.TarInfo(place)
            info.size = it.size
            with opened(it.content) as stream:
                tar.addfile(info, stream)
    return manifest.sha256


def document(media: str, content: Mapping[str, object]) -> Blob:
    return blob(media, json.dumps(content, separators=(",", ":"), sort_keys=True).encode())


def blob(media: str, content: bytes | Path) -> Blob:
    """A part with its digest."""
    whole, size = hashlib.sha256(), 0
    with opened(content) as stream:
        while piece := stream.read(BLOCK):
            whole.update(piece)
            size += len(piece)
    return Blob(media=media, sha256=whole.hexdigest(), size=size, content=content)


def opened(content: bytes | Path) -> io.BufferedIOBase:
    """A stream of some bytes, wherever they are."""
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
