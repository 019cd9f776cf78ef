"""A stage as Pulumi keeps it: there and back, what differs by path, and what an update or a deletion takes away."""

import json
from typing import Any

import pytest

from hosts.fleet import Fleet, Gpus, Host, Storage
from hosts.resources import Claim, Directory, File, Package, Requirement, Unit
from hosts.state import Resource, Stage
from infra import wire
from infra.wire import Difference

CLAIM = Claim(folder="/s/claims", artifact="fleet", stack="k2", backend="0123", holder="eva@desk")
NEED = Requirement(name="os", check="echo ok", wanted="Debian 12", fix="install it")
# in an order that no sorting by key gives
ORDERED: tuple[Resource, ...] = (
    Unit(name="z.service", fingerprint="ab", reads=("11  /etc/z",)),
    NEED,
    Directory(path='/etc/quo"ted \\ ☃'),
    Package(names=("munge",)),
    File(path="/a", content="1\n"),
    CLAIM,
)
STAGE = Stage(name="base", hosts={"n2": ORDERED, "n1": ORDERED[::-1], "n0": ()}, keep=True, lock=False)
FLEET = Fleet(
    name="ours",
    slurm="existing",
    storage=Storage(path="/s", shared=False),
    partition="big",
    known_hosts="~/known",
    identity="~/key",
    stand_in=True,
    hosts=(
        Host(name="login", address="192.0.2.10", user="ops", role="login", port=2222, sudo=False, host_key="ssh-x AA"),
        Host(name="n1", address="192.0.2.21", user="ops", jump="login", interface="eth0"),
    ),
)


def across(value: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from the engine: JSON, mappings in an order of its own."""
    found = json.loads(json.dumps(value, sort_keys=True))
    assert isinstance(found, dict)
    return found


def hosts(**resources: tuple[Resource, ...]) -> dict[str, Any]:
    found = wire.inputs("k2", Stage(name="s", hosts=resources), FLEET)["hosts"]
    assert isinstance(found, dict)
    return found


def test_a_stage_comes_back_with_its_order() -> None:
    back = wire.stage_of(across(wire.inputs("k2", STAGE, FLEET)))
    assert dict(back.hosts) == dict(STAGE.hosts)
    assert (back.name, back.keep, back.lock) == ("base", True, False)


def test_nothing_on_the_wire_is_a_number_or_nothing() -> None:
    def leaves(value: object) -> list[object]:
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        if isinstance(value, list):
            return [leaf for item in value for leaf in leaves(item)]
        return [value]

    assert {type(leaf) for leaf in leaves(wire.inputs("k2", STAGE, FLEET))} == {str, bool}


def test_what_the_order_does_not_name_comes_last() -> None:
    """A refresh may find less than was declared, and a state of before may name more."""
    inputs = across(wire.inputs("k2", Stage(name="s", hosts={"a": ORDERED}), FLEET))
    inputs["order"]["a"] = ["gone:x", ORDERED[4].key, ORDERED[0].key]
    del inputs["hosts"]["a"][ORDERED[1].key]
    keys = [resource.key for resource in wire.stage_of(inputs).hosts["a"]]
    assert keys[:2] == [ORDERED[4].key, ORDERED[0].key]
    assert sorted(keys) == sorted(resource.key for resource in ORDERED if resource is not NEED)
    del inputs["order"], inputs["lock"]
    assert wire.stage_of(inputs).lock is True
    assert len(wire.stage_of(inputs).hosts["a"]) == 5


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"hosts": {"a": {"file:/a": {"kind": "Flie"}}}}, ValueError),
        ({"hosts": {"a": {"file:/a": {"kind": "File", "path": "/a", "content": 1.0}}}}, ValueError),
        ({"hosts": {"a": {"file:/a": {"kind": "File", "path": "/a"}}}}, TypeError),
        ({"hosts": None}, AttributeError),
        ({"stage": ...}, KeyError),
        ({"keep": ...}, KeyError),
    ],
)
def test_what_is_no_stage_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    inputs = {**wire.inputs("k2", STAGE, FLEET), **change}
    with pytest.raises(error):
        wire.stage_of({name: value for name, value in inputs.items() if value is not ...})


def test_as_much_of_the_fleet_as_reaching_it_takes() -> None:
    assert wire.fleet_of(across(wire.inputs("k2", STAGE, FLEET))) == FLEET
    gpus = Gpus(count=8, model="NVIDIA H200", memory_mib=143771)
    more = Fleet(
        name="ours",
        slurm="ours",
        storage=Storage(path="/s"),
        hosts=(Host(name="n1", address="a", user="u", cpus=224, memory_mib=2_000_000, gpus=gpus),),
        wheels="/w",
        price_per_gpu_hour="2.50",
    )
    back = wire.fleet_of(across(wire.inputs("k2", STAGE, more)))
    assert [(host.name, host.address, host.user, host.gpus) for host in back.hosts] == [("n1", "a", "u", None)]


ODD = File(path='/quo"ted \\ [0].x', content="1")
DIFFERENCES: list[tuple[str, dict[str, Any], dict[str, Any], list[Difference]]] = [
    ("nothing", hosts(a=ORDERED), hosts(a=ORDERED[::-1]), []),
    (
        "a field",
        hosts(a=(File(path="/a", content="1", mode="0600"),)),
        hosts(a=(File(path="/a", content="2"),)),
        [
            Difference(path=f'hosts["a"]["file:/a"].{field}', host="a", key="file:/a", field=field, how="update")
            for field in ("content", "mode")
        ],
    ),
    (
        "a key with quotes, backslashes and brackets",
        hosts(a=(ODD,)),
        hosts(a=(File(path=ODD.path, content="2"),)),
        [
            Difference(
                path='hosts["a"]["file:/quo\\"ted \\\\ [0].x"].content',
                host="a",
                key='file:/quo"ted \\ [0].x',
                field="content",
                how="update",
            )
        ],
    ),
    (
        "one more and one less",
        hosts(a=(File(path="/a", content=""),)),
        hosts(a=(File(path="/b", content=""),)),
        [
            Difference(path='hosts["a"]["file:/a"]', host="a", key="file:/a", field="", how="delete"),
            Difference(path='hosts["a"]["file:/b"]', host="a", key="file:/b", field="", how="add"),
        ],
    ),
    (
        "a host more, a host less",
        hosts(b=(CLAIM,)),
        hosts(a=(CLAIM,)),
        [
            Difference(path='hosts["a"]["claim:fleet"]', host="a", key="claim:fleet", field="", how="add"),
            Difference(path='hosts["b"]["claim:fleet"]', host="b", key="claim:fleet", field="", how="delete"),
        ],
    ),
    (
        "a field that one side does not have",
        {"a": {"k": {"kind": "File"}}},
        {"a": {"k": {"kind": "File", "guard": False}}},
        [Difference(path='hosts["a"]["k"].guard', host="a", key="k", field="guard", how="update")],
    ),
    ("nobody", {}, {"a": {}}, []),
]


@pytest.mark.parametrize(
    ("actual", "desired", "expected"), [row[1:] for row in DIFFERENCES], ids=[row[0] for row in DIFFERENCES]
)
def test_differences(actual: dict[str, Any], desired: dict[str, Any], expected: list[Difference]) -> None:
    assert list(wire.differences(across(actual), across(desired))) == expected


@pytest.mark.parametrize(
    ("stage", "kept", "left"),
    [
        (STAGE, wire.inputs("k2", STAGE, FLEET)["hosts"], {}),
        (STAGE, {}, {"n2": 5, "n1": 5}),
        (STAGE, {"n2": {"claim:fleet": {}}, "n1": hosts(a=ORDERED)["a"]}, {"n2": 4}),
        (Stage(name="s", hosts={"a": (NEED,)}), {}, {}),
    ],
    ids=["all kept", "none kept", "some kept", "requirements were never made"],
)
def test_without(stage: Stage, kept: dict[str, Any], left: dict[str, int]) -> None:
    """What an update takes away: in the old order, under the old lock, and never a requirement."""
    found = wire.without(stage, kept)
    assert {name: len(resources) for name, resources in found.hosts.items()} == left
    assert (found.name, found.keep, found.lock) == (stage.name, stage.keep, stage.lock)
    for name, resources in found.hosts.items():
        assert NEED not in resources
        assert [r for r in stage.hosts[name] if r in resources] == list(resources)


def test_claims_only() -> None:
    """All that the deletion of a kept stage takes away; a host without claims is left alone."""
    found = wire.claims_only(Stage(name="s", hosts={"a": ORDERED, "b": ORDERED[:5]}, keep=True, lock=False))
    assert dict(found.hosts) == {"a": (CLAIM,)}
    assert (found.keep, found.lock) == (True, False)
    assert dict(wire.claims_only(Stage(name="s", hosts={"a": ORDERED[:5]})).hosts) == {}


def test_requirements_only() -> None:
    """All that an update checks before it takes anything away."""
    found = wire.requirements_only(Stage(name="s", hosts={"a": ORDERED, "b": ORDERED[2:]}, keep=True, lock=False))
    assert dict(found.hosts) == {"a": (NEED,)}
    assert (found.keep, found.lock) == (True, False)
