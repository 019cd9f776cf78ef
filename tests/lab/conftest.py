"""The lab is left as it was found: down, where these tests brought it up."""

import os
from collections.abc import Iterator

import pytest

from lab import nodes


@pytest.fixture(scope="session", autouse=True)
def as_found() -> Iterator[None]:
    """Takes the nodes down at the end unless somebody else's were up at the start."""
    if os.getuid() != 0:
        yield
        return
    were = {node.name for node in nodes.status() if node.state == "up"}
    yield
    if not were:
        nodes.down()
