"""The image that all nodes share: made once, kept in the cache under the digest of what it is made from."""

import shutil
from pathlib import Path

from lab import locks, packages, paths, recipe
from lab.errors import LabFailed
from lab.progress import Say

MILESTONES = ("Retrieving Packages", "Chosen extractor", "Installing core packages", "Unpacking the base system",
              "Configuring the base system", "Base system installed", "Need to get", "Fetched")  # fmt: skip


def is_done() -> bool:
    """Whether the image is there; looks only. It appears under its name only when it is whole."""
    known = remembered()
    return not packages.missing() and known is not None and known.is_dir()


def remembered() -> Path | None:
    """The image's folder, without asking apt: what it was called when the same was asked last; None if unknown."""
    file = memo()
    known, _, name = (file.read_text() if file.exists() else "").partition(" ")
    return paths.lab() / name if name and known == recipe.key(packages.stamp()) else None


def memo() -> Path:
    return paths.lab() / "image.name"


def prepare(say: Say) -> Path:
    """The image's folder, made first if it is not there; two callers never make it twice."""
    known = remembered()
    if known and known.is_dir():
        return known
    sources, key = packages.sources(), recipe.key(packages.stamp())
    image = paths.lab() / f"image-{recipe.digest(sources)}"
    if not image.is_dir():
        make(image, sources, say)
    new = memo().with_suffix(".new")
    new.write_text(f"{key} {image.name}")
    new.replace(memo())
    return image


def make(image: Path, sources: packages.Sources, say: Say) -> None:
    """Make the image under another name and give it its own when it is whole."""
    with locks.held(paths.lab() / "image.lock", say):
        if image.is_dir():
            return
        for unfinished in paths.lab().glob("*.making"):
            remove_tree(unfinished)
        making = image.with_suffix(".making")
        making.mkdir()
        making.chmod(0o755)
        say(f"image: a Debian {packages.SUITE} from this machine's own mirror (a minute or two, once)")

        def line(text: str) -> None:
            if any(milestone in text for milestone in MILESTONES):
                say(f"image: {text.removeprefix('I: ').rstrip('.').lower()}")

        recipe.make(making, sources, line)
        making.replace(image)
    say(f"image: ready, {image.name}")


def discard_unused(used: set[str], say: Say) -> None:
    """Remove images of earlier versions that no node stands on; `used` holds the names to keep."""
    for folder in paths.lab().glob("image-*"):
        if folder.is_dir() and not folder.suffix and folder.name not in used:
            say(f"image: removing {folder.name}, which no node uses")
            discard(folder)


def discard(folder: Path) -> None:
    """Delete a folder in one step for whoever looks for it: a kill in the middle leaves no half under its name."""
    discard_rest()
    remove_tree(folder.replace(folder.with_suffix(".discarded")))


def discard_rest() -> None:
    """Finish a `discard` that was cut short."""
    for folder in paths.lab().glob("*.discarded"):
        remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Delete a folder of ours; LabFailed if something is mounted inside, since that would be deleted too."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [mount for mount in mounts if Path(mount).is_relative_to(folder)]
    if inside:
        raise LabFailed(
            f"{folder}: found {inside[0]} mounted inside, wanted nothing there before it is deleted; umount it"
        )
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
