"""Makes the flag table of an engine release from the release's own package, read by ranges.

    python -m tools.flags vllm 0.19.1
    python -m tools.flags history vllm 0.10.0 0.11.2 0.13.0
    python -m tools.flags given trtllm 1.3.0rc3 click FILE

The second form reads all of these releases and writes in which of them each option exists; the third converts a table
that was made elsewhere, of a package that no index has.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hosts.errors import Failed
from infra.flags.extract.given import converted
from infra.flags.extract.lives import lives
from infra.flags.extract.recipes import RECIPES, recipe, table, written
from infra.flags.table import FOLDER, load
from tools.wheel import locate, opened, texts


def extract(engine: str, release: str, say: Callable[[str], None], folder: Path = FOLDER) -> Path:
    """Reads a release's package and writes its table; the file. Raises Failed."""
    try:
        how = recipe(engine)
    except KeyError:
        names = ", ".join(one.engine for one in RECIPES)
        raise Failed(f"no way is known to read {engine}; known are {names}") from None
    wheel = locate(how.distribution, release)
    with opened(wheel, say) as archive:
        sources = texts(archive, how.wants)
    say(f"{wheel.name}: {len(sources)} files, {sum(map(len, sources.values())) // 1024} KiB of text read")
    try:
        data = table(how, release, wheel.name, sources)
    except KeyError as missing:
        raise Failed(
            f"{wheel.name} is built in another way than the releases that are known: {missing} is not there"
        ) from None
    path = folder / f"{engine}-{release}.json"
    path.write_text(written(data), encoding="utf-8")
    say(f"{path}: {len(data['flags'])} options, {len(data.get('classes', {}))} nested classes")
    return path


def record_history(engine: str, releases: Sequence[str], say: Callable[[str], None], folder: Path = FOLDER) -> Path:
    """Reads many releases and writes the history of their options; the file. Raises Failed."""
    with tempfile.TemporaryDirectory() as scratch:
        for release in releases:
            extract(engine, release, say, Path(scratch))
        text = lives(engine, {release: load(engine, release, Path(scratch)) for release in releases})
    path = folder / f"history-{engine}.json"
    path.write_text(text, encoding="utf-8")
    say(f"{path}: {len(releases)} releases")
    return path


def convert(engine: str, release: str, parser: str, given: Path, folder: Path = FOLDER) -> Path:
    """Writes a table that was made elsewhere in the form of ours; the file."""
    path = folder / f"{engine}-{release}.json"
    data = json.loads(given.read_text(encoding="utf-8"))
    path.write_text(written(converted(data, parser=parser, release=release, engine=engine)), encoding="utf-8")
    return path


if __name__ == "__main__":
    if sys.argv[1] == "given":
        convert(sys.argv[2], sys.argv[3], sys.argv[4], Path(sys.argv[5]))
    elif sys.argv[1] == "history":
        record_history(sys.argv[2], sys.argv[3:], print)
    else:
        extract(sys.argv[1], sys.argv[2], print)
