"""What `make setup` gets ready for the lab: packages of this machine, images of nodes and containers, the engine."""

import importlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, cast

from hosts.errors import SlipwayError
from lab import ability, container_image, image, packages
from lab.progress import Say, speaker


class Part(Protocol):
    """A module that gets something ready once."""

    def is_done(self) -> bool: ...

    @property
    def prepare(self) -> Callable[[Say], object]: ...


def parts() -> tuple[Part, ...]:
    """What is independent of each other, so that it is made side by side; the longest is not the last to begin."""
    return (
        cast(Part, image),
        cast(Part, importlib.import_module("lab.engine_artifacts")),
        cast(Part, container_image),
    )


def is_done() -> bool:
    """Whether there is nothing left to prepare; looks only."""
    return not packages.missing() and all(part.is_done() for part in parts())


def main() -> int:
    """Prepare what is missing, with progress; an exit code. A part that fails does not stop the other."""
    say, failed = speaker(), list[SlipwayError]()
    try:
        ability.refuse_unless_root()
        packages.install(say)
        ability.refuse_unless_able()
    except SlipwayError as refused:
        failed.append(refused)
    left = [] if failed else [part for part in parts() if not part.is_done()]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for work in [pool.submit(part.prepare, say) for part in left]:
            try:
                work.result()
            except SlipwayError as error:
                failed.append(error)
    for why in failed:
        print(why, file=sys.stderr)
    if not failed:
        say("lab: prepared" if left else "lab: prepared already, nothing to do")
    return max((why.exit_code for why in failed), default=0)


if __name__ == "__main__":
    sys.exit(main())
