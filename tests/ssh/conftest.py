"""Connections to the loopback sshd."""

from collections.abc import Iterator

import pytest

from hosts.remote import Connections
from tests.sshd import Sshd, sshd, start_sshd

__all__ = ["sshd", "start_sshd"]


@pytest.fixture
def connect(sshd: Sshd) -> Iterator[Connections]:
    """Connections to one host of the name `a`."""
    connections = Connections(sshd.fleet(sshd.host("a")))
    yield connections
    connections.close()
