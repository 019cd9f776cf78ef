"""Values of desired and actual: their form on the wire, their differences, and how a change reads."""

import json
from dataclasses import replace

import pytest

from hosts.resources import (
    KINDS,
    Block,
    Claim,
    CondaEnv,
    Directory,
    Endpoint,
    File,
    Image,
    Package,
    Requirement,
    SecretFile,
    SlurmJob,
    SubordinateIds,
    Sysctl,
    Unit,
    User,
    Weights,
)
from hosts.state import Change, Plan, Resource, Stage, Value, differences, fingerprint, from_wire, to_wire

EACH: tuple[Resource, ...] = (
    Block(path="/etc/hosts", name="cluster", content="10.0.0.1 a\n10.0.0.2 b\n"),
    Claim(folder="/s/claims", artifact="fleet", stack="k2", backend="0123", holder="eva@desk"),
    CondaEnv(
        prefix="/s/envs/e", digest="ab", packages=("conda python 3.11", "pip vllm 0.19.1"), inputs="/i", tools="/t"
    ),
    Directory(path='/s/it\'s "odd" \\ ☃', mode="0710", owner="slipway", purge=True),
    Endpoint(stack="k2", folder="/s/k2", port="8000", model="m", api_key_file="/s/k2/api-key"),
    File(path="/etc/a b\n", content="line\r\n\ttab \x1e\x1f\x00 ☃\n", guard=True),
    Image(reference=f"registry.example/e@sha256:{'ab' * 32}", archive="/s/e.tar", user="ops", log="/s/e/log"),
    Package(names=("munge", "slurmd")),
    Requirement(name="os", check="echo ok", wanted="Debian 12", fix="install it"),
    SecretFile(path="/etc/munge/munge.key", secret="munge-key", digest="ff"),
    SlurmJob(stack="k2", folder="/s/k2", fingerprint="ab12"),
    SubordinateIds(user="slipway", first="100000", count="65536"),
    Sysctl(name="vm.max_map_count", value="010"),
    Unit(name="slurmd.service", fingerprint="ab12", reads=("11  /etc/slurm/slurm.conf",), active=False),
    User(name="slipway", uid="64100", home="/s"),
    Weights(path="/s/m", manifest=(), records="/s/r"),
)


def test_every_kind_is_here() -> None:
    assert {resource.kind for resource in EACH} == set(KINDS)
    assert {name: kind.__name__ for name, kind in KINDS.items()} == {name: name for name in KINDS}


@pytest.mark.parametrize("resource", EACH, ids=lambda r: str(r.kind))
def test_round_trip(resource: Resource) -> None:
    """As equal, hashable values of the same kind and key; with fields of text, booleans and lists alone."""
    wire = json.loads(json.dumps(to_wire(resource)))
    back = from_wire(wire, KINDS)
    assert back == resource
    assert type(back) is type(resource)
    assert (back.key, hash(back)) == (resource.key, hash(resource))
    for value in wire.values():
        assert isinstance(value, str | bool) or all(isinstance(item, str) for item in value)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("\udcff\udc80 bytes\n", "\\udcff\\udc80 bytes\n"),
        ("☃ \U0001f680", "☃ \U0001f680"),
        ("\x00\x1e", "\x00\x1e"),
    ],
)
def test_bytes_that_are_no_utf8_cross_as_escapes(content: str, shown: str) -> None:
    """Pulumi's wire is UTF-8. What was found so still differs from everything that can be wanted."""
    wire = to_wire(File(path="/f", content=content))
    assert wire["content"] == shown
    json.dumps(wire, ensure_ascii=False).encode()
    assert to_wire(Package(names=(content,)))["names"] == [shown]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "Flie"}, "unknown kind of resource: 'Flie'; known: Block, Claim, "),
        ({"kind": None}, "unknown kind of resource: None"),
        ({"kind": ["File"]}, "unknown kind of resource: \\['File'\\]"),
        ({"contents": "x"}, "File has no field 'contents'; fields: content, group, guard, mode, owner, path"),
        ({"mode": 420.0}, "File.mode is float; the wire carries text, booleans and lists"),
        ({"mode": None}, "File.mode is NoneType; the wire"),
        ({"content": {"a": "b"}}, "File.content is dict; the wire"),
        ({"content": ["a", 1.0]}, "File.content has an item that is float; lists carry text"),
    ],
)
def test_what_is_no_resource_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_wire({**to_wire(File(path="/f", content="x")), **changes}, KINDS)


def test_a_key_stands_once_on_a_host() -> None:
    """The same file twice would be repaired for ever; on two hosts it is two files."""
    first, second = File(path="/f", content="1"), File(path="/f", content="2")
    Stage(name="base", hosts={"a": (first, Directory(path="/f")), "b": (second,)})
    with pytest.raises(ValueError, match="stage base: file:/f is declared twice on b"):
        Stage(name="base", hosts={"a": (first,), "b": (first, second)})


def test_a_stage_can_not_be_changed() -> None:
    hosts: dict[str, tuple[Resource, ...]] = {"a": ()}
    stage = Stage(name="base", hosts=hosts)
    hosts["b"] = ()
    assert dict(stage.hosts) == {"a": ()}
    with pytest.raises(TypeError):
        stage.hosts["b"] = ()  # type: ignore[index]


FILE = File(path="/f", content="one\ntwo\nthree\n")
DIFFS: list[tuple[str, Resource | None, Resource | None, str]] = [
    ("absent", None, FILE, "+ file:/f"),
    ("to go", FILE, None, "- file:/f"),
    ("a word", replace(FILE, mode="0600"), FILE, "~ file:/f\n    mode: '0600' => '0644'"),
    ("a flag", Unit(name="u", fingerprint="a", active=False), Unit(name="u", fingerprint="a"), "active: False => True"),
    (
        "lines that look like a diff",
        replace(FILE, content="-- a\n++ b\n@@\n"),
        replace(FILE, content="@@\n"),
        "content:\n      @@ -1,3 +1 @@\n      --- a\n      -++ b\n       @@",
    ),
    (
        "one line of several",
        replace(FILE, content="one\n2\nthree\n"),
        FILE,
        "~ file:/f\n    content:\n      @@ -1,3 +1,3 @@\n       one\n      -2\n      +two\n       three",
    ),
    (
        "one line for several",
        replace(FILE, content="x"),
        FILE,
        "content:\n      @@ -1 +1,3 @@\n      -x\n      +one\n      +two\n      +three",
    ),
    (
        "nothing for several",
        replace(FILE, content=""),
        FILE,
        "content:\n      @@ -0,0 +1,3 @@\n      +one\n      +two\n      +three",
    ),
    (
        "the end of one line",
        File(path="/f", content="one"),
        File(path="/f", content="one\n"),
        "content: 'one' => 'one\\n'",
    ),
    (
        "the end of the last of several",
        replace(FILE, content="one\ntwo\nthree"),
        FILE,
        "~ file:/f\n    content: the same lines, with other ends",
    ),
    (
        "the ends of all lines",
        replace(FILE, content="one\r\ntwo\r\nthree\r\n"),
        FILE,
        "~ file:/f\n    content: the same lines, with other ends",
    ),
    (
        "a list",
        Package(names=("munge",)),
        Package(names=("munge", "slurmd")),
        "names:\n      @@ -1 +1,2 @@\n       munge\n      +slurmd",
    ),
    (
        "a list of one",
        User(name="u", uid="1", home="/", groups=()),
        User(name="u", uid="1", home="/", groups=("video",)),
        "groups: () => ('video',)",
    ),
    (
        "two fields",
        replace(FILE, mode="0600", owner="eva"),
        replace(FILE, owner="root"),
        "    mode: '0600' => '0644'\n    owner: 'eva' => 'root'",
    ),
]


@pytest.mark.parametrize(("actual", "desired", "text"), [row[1:] for row in DIFFS], ids=[row[0] for row in DIFFS])
def test_how_a_change_reads(actual: Resource | None, desired: Resource | None, text: str) -> None:
    resource = desired or actual
    assert resource is not None
    found = Change(host="a", key=resource.key, desired=desired, actual=actual).diff()
    assert text in found
    assert found.splitlines()[0] in (f"+ {resource.key}", f"- {resource.key}", f"~ {resource.key}")


def test_a_change_is_made_by_what_is_wanted_and_undone_by_what_is_there() -> None:
    there, wanted = replace(FILE, path="/there"), replace(FILE, path="/wanted")
    make = Change(host="a", key="k", desired=wanted, actual=there)
    assert make.steps() == tuple(wanted.steps(there))
    assert make.probe() == wanted.probe()
    undo = Change(host="a", key="k", desired=None, actual=there)
    assert undo.steps() == tuple(there.remove())
    assert undo.probe() == there.probe()
    plan = Plan(stage="s", changes=(make, replace(undo, host="b"), undo))
    assert plan.of("a") == (make, undo)


@pytest.mark.parametrize(
    ("actual", "desired", "expected"),
    [
        (FILE, FILE, []),
        (replace(FILE, guard=True), FILE, [("guard", True, False)]),
        (
            replace(FILE, content="", mode="0000"),
            FILE,
            [("content", "", FILE.content), ("mode", "0000", "0644")],
        ),
    ],
)
def test_differences(actual: Resource, desired: Resource, expected: list[tuple[str, Value, Value]]) -> None:
    assert list(differences(actual, desired)) == expected


def test_a_fingerprint_keeps_its_parts_apart() -> None:
    assert fingerprint("a", "b") != fingerprint("ab")
    assert fingerprint("a", "b") == fingerprint("a", "b")
    assert len(fingerprint("\udcff")) == 16
