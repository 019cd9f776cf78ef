"""Reads that are asked for together go to a host in one trip; one that fails is not remembered."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from hosts.connection import Connect
from hosts.resources.system import Sysctl
from hosts.state import Stage
from infra.reads import Reads
from tests.unit.talking_hosts import Hosts

STAGES = [Stage(name=f"s{n}", hosts={"n1": (Sysctl(name=f"a.b{n}", value="1"),)}) for n in range(5)]


def test_one_trip_for_all_that_is_asked_for_now() -> None:
    hosts = Hosts({"n1": {f"a.b{n}": f"={n}\n--\na.b{n} = {n}\n" for n in range(5)}})
    reads = Reads(lambda: hosts)
    with ThreadPoolExecutor(len(STAGES)) as pool:
        facts = list(pool.map(reads.facts, STAGES))
    assert [list(found.seen["n1"]) for found in facts] == [[r.key for r in stage.hosts["n1"]] for stage in STAGES]
    assert len(hosts.asked) == 1
    reads.facts(STAGES[0])
    assert len(hosts.asked) == 2


def test_a_connection_that_could_not_be_made_is_made_again() -> None:
    hosts, failures = Hosts({"n1": {}}), [OSError("no module")]

    def connect() -> Connect:
        if failures:
            raise failures.pop()
        return hosts

    reads = Reads(connect)
    with pytest.raises(OSError, match="no module"):
        reads.facts(STAGES[0])
    assert "n1" in reads.facts(STAGES[0]).seen
