"""Makes the flag table of an engine release from the release's own package, read by ranges.

python -m tools.flags vllm 0.19.1
"""

import sys
from collections.abc import Callable
from pathlib import Path

from hosts.errors import Failed
from infra.flags.extract.recipes import RECIPES, recipe, table, written
from infra.flags.table import FOLDER
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


if __name__ == "__main__":
    extract(sys.argv[1], sys.argv[2], print)
