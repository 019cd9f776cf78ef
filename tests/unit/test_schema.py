"""Strict, bounded reading of YAML, as YAML 1.2 has it, with every problem named by its place."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hosts.errors import InputError
from hosts.schema import MAX_FILE_BYTES, Kind, Reader, describe, load_yaml, nearest, parse_yaml

SCALARS: list[tuple[str, object]] = [
    ("on", "on"),
    ("off", "off"),
    ("yes", "yes"),
    ("No", "No"),
    ("y", "y"),
    ("true", True),
    ("False", False),
    ("TRUE", True),
    ("tRUE", "tRUE"),
    ("1:30", "1:30"),
    ("24:00:00", "24:00:00"),
    ("190:20:30.15", "190:20:30.15"),
    # 10 to YAML 1.2, 8 to YAML 1.1 and to Pulumi: text to us, which is refused where a number belongs
    ("010", "010"),
    ("-010", "-010"),
    ("0x1F", "0x1F"),
    ("0o17", "0o17"),
    ("0b1", "0b1"),
    ("1_000", "1_000"),
    ("0", 0),
    ("-7", -7),
    ("+7", 7),
    ("65536", 65536),
    ("1.20", 1.2),
    (".5", 0.5),
    ("1.", 1.0),
    ("-1.5e+3", -1500.0),
    ("0.19.1", "0.19.1"),
    ("1e3", "1e3"),
    (".inf", ".inf"),
    (".nan", ".nan"),
    ("2024-01-01", "2024-01-01"),
    ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
    ("=", "="),
    ("null", None),
    ("~", None),
    ("", None),
    ("nULL", "nULL"),
    ("'on'", "on"),
    ('"010"', "010"),
    ("v1:abc=:d/e", "v1:abc=:d/e"),
    ("[on, 010, 1:30, 7]", ["on", "010", "1:30", 7]),
]


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[text or "(nothing)" for text, _ in SCALARS])
def test_scalars(text: str, value: object) -> None:
    found = parse_yaml(f"a: {text}\n")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_keys_are_read_like_values_and_merge_is_a_key() -> None:
    assert parse_yaml("on: 1\n010: 2\n<<: {a: b}\n7: 3\n") == {"on": 1, "010": 2, "<<": {"a": "b"}, 7: 3}


REFUSED: list[tuple[str, str, str]] = [
    ("an alias", "a: &x [1]\nb: *x\n", "aliases are not allowed"),
    ("a billion laughs", "a: &a [l, l]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "aliases are not allowed"),
    ("a key twice", "a: 1\nb: 2\na: 3\n", "the key 'a' stands twice"),
    ("a key twice, once in quotes", "a: 1\n'a': 3\n", "the key 'a' stands twice"),
    ("a key twice below", "a:\n  b: 1\n  b: 1\n", "the key 'b' stands twice"),
    ("a key twice in a list's item", "a: [{b: 1, b: 2}]\n", "the key 'b' stands twice"),
    ("a list as a key", "? [a]\n: 1\n", "unhashable key"),
    ("a tag of Python's", "a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
    ("a tag of somebody's", "a: !secret x\n", "could not determine a constructor"),
    ("two documents", "a: 1\n---\nb: 2\n", "but found another document"),
    ("a tab", "a:\n\tb: 1\n", "cannot start any token"),
    ("an open bracket", "a: [1\n", "expected ',' or ']'"),
    ("a control character", "a: \x07\n", "(special|control) characters are not allowed"),
]


@pytest.mark.parametrize(("text", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(yaml.YAMLError, match=says):
        parse_yaml(text)
    path = tmp_path / "stack.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"error: {path}: found ") + "(?s:.*)wanted valid YAML") as caught:
        load_yaml(path)
    assert re.search(r" at (line \d+, column \d+|position \d+)", str(caught.value))
    assert "string>" not in str(caught.value)


def write(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("absent", lambda _: None, "found No such file or directory, wanted a readable file"),
    ("a folder", lambda path: path.mkdir(), "found Is a directory, wanted a readable file"),
    ("too big", write(b"#" * (MAX_FILE_BYTES + 1)), "found a file of more than 1 MiB, wanted at most 1 MiB"),
    ("not UTF-8", write(b"a: \xff\n"), "found a byte at 3 that is no UTF-8, wanted UTF-8 text"),
    ("UTF-16", write("a: 1\n".encode("utf-16")), "found a byte at 0 that is no UTF-8, wanted UTF-8 text"),
    ("nested too deep", write(b"[" * MAX_FILE_BYTES), "found nested deeper than 64 levels at .*, wanted valid YAML"),
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_files_that_can_not_be_read(make: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    make(path)
    with pytest.raises(InputError, match=says) as caught:
        load_yaml(path)
    assert [problem.where for problem in caught.value.problems] == [str(path)]


def test_a_file_of_the_largest_size_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n#" + b"x" * (MAX_FILE_BYTES - 9))
    assert path.stat().st_size == MAX_FILE_BYTES
    assert load_yaml(path) == {"a": 1}


def read(text: str, ask: Callable[[Reader], object]) -> tuple[object, list[str]]:
    """What a question to a reader of the text returns, and the problems as text."""
    reader = Reader(parse_yaml(text), "f.yaml")
    return ask(reader), [str(problem).removeprefix("error: ") for problem in reader.problems]


READS: list[tuple[str, Callable[[Reader], object], object, list[str]]] = [
    ("a: b", lambda r: r.text("a"), "b", []),
    ("{}", lambda r: r.text("a", default="x"), "x", []),
    ("a: null", lambda r: r.text("a", default="x"), "x", []),
    ("{}", lambda r: r.text("a"), "", ["$.a: found nothing, wanted text"]),
    ("a: 1.20", lambda r: r.text("a"), "", ['$.a: found 1.2, wanted text; write it in quotes: "1.2"']),
    ("a: true", lambda r: r.text("a"), "", ["$.a: found True, wanted text"]),
    ("a: [b]", lambda r: r.text("a", default="x"), "x", ["$.a: found ['b'], wanted text"]),
    ('a: "b\\nc"', lambda r: r.text("a"), "", [r"$.a: found 'b\nc', wanted one line of text"]),
    (
        f"a: {'b' * 5000}",
        lambda r: r.text("a"),
        "",
        [f"$.a: found '{'b' * 76}..., wanted one line of text"],
    ),
    ("a: user@host-1.example:22", lambda r: r.word("a"), "user@host-1.example:22", []),
    (
        "a: -oProxyCommand=id",
        lambda r: r.word("a"),
        "",
        ["$.a: found '-oProxyCommand=id', wanted a name or an address: "],
    ),
    ("a: a b", lambda r: r.word("a"), "", ["$.a: found 'a b', wanted a name or an address: "]),
    ("a: ''", lambda r: r.word("a"), "", ["$.a: found '', wanted a name or an address: "]),
    ("a: /s/a-b_c.d/.e", lambda r: r.path("a"), "/s/a-b_c.d/.e", []),
    *(
        (f"a: '{path}'", lambda r: r.path("a"), "", [f"$.a: found '{path}', wanted an absolute path, "])
        for path in ("/", "s", "/s/", "//s", "/s/../t", "/s/.", "/..", "/a b", "/a$b", '/a"', "/a;b", "/ä")
    ),
    ("a: '2.50'", lambda r: r.decimal("a"), "2.50", []),
    ("a: '-1'", lambda r: r.decimal("a"), "", ["$.a: found '-1', wanted a number in quotes"]),
    ("a: 7", lambda r: r.number("a", low=1, high=8), 7, []),
    ("a: 9", lambda r: r.number("a", low=1, high=8), 1, ["$.a: found 9, wanted a whole number from 1 to 8"]),
    ("a: 0", lambda r: r.number("a", low=1, high=8, default=2), 2, ["$.a: found 0, wanted a whole number from 1 to 8"]),
    ("a: true", lambda r: r.number("a", high=8), 0, ["$.a: found True, wanted a whole number from 0 to 8"]),
    ("a: '7'", lambda r: r.number("a", high=8), 0, ["$.a: found '7', wanted a whole number from 0 to 8"]),
    ("a: 010", lambda r: r.number("a", high=8), 0, ["$.a: found '010', wanted a whole number from 0 to 8"]),
    ("a: 7.0", lambda r: r.number("a", high=8), 0, ["$.a: found 7.0, wanted a whole number from 0 to 8"]),
    ("{}", lambda r: r.number("a", high=8), 0, ["$.a: found nothing, wanted a whole number from 0 to 8"]),
    ("a: on", lambda r: r.flag("a"), False, ["$.a: found 'on', wanted true or false"]),
    ("a: 1", lambda r: r.flag("a", default=True), True, ["$.a: found 1, wanted true or false"]),
    ("a: false", lambda r: r.flag("a", default=True), False, []),
    ("a: ours", lambda r: r.choice("a", ("ours", "none")), "ours", []),
    (
        "a: our",
        lambda r: r.choice("a", ("none", "ours")),
        "none",
        ["$.a: found 'our', wanted one of none, ours; did you mean ours?"],
    ),
    ("a: [ours]", lambda r: r.choice("a", ("ours", "none")), "ours", ["$.a: found ['ours'], wanted one of ours, none"]),
    ("a: {b: 1}", lambda r: r.child("a").number("b"), 1, []),
    ("a: {b: x}", lambda r: r.child("a").flag("b"), False, ["$.a.b: found 'x', wanted true or false"]),
    ("a: x", lambda r: r.child("a").text("b", default="d"), "d", ["$.a: found 'x', wanted a mapping"]),
    ("[a]", lambda r: r.has("a"), False, ["$: found ['a'], wanted a mapping"]),
    ("just text", lambda r: r.has("a"), False, ["$: found 'just text', wanted a mapping"]),
]


@pytest.mark.parametrize(
    ("text", "ask", "value", "problems"), READS, ids=[f"{n} {r[0][:30]}" for n, r in enumerate(READS)]
)
def test_reads(text: str, ask: Callable[[Reader], object], value: object, problems: list[str]) -> None:
    """Each problem has its place, and reading goes on with a harmless value."""
    found, told = read(text, ask)
    assert found == value
    assert [line[: len(start)] for line, start in zip(told, problems, strict=True)] == problems


NAMES = Kind(pattern=r"[a-z][a-z0-9]*", wanted="small letters and digits")


@pytest.mark.parametrize(
    ("text", "names", "problems"),
    [
        ("a: {n1: {}, n2: {}}", ["n1", "n2"], []),
        ("a: {}", [], ["$.a: found {}, wanted a mapping with at least one entry"]),
        ("{}", [], ["$.a: found nothing, wanted a mapping with at least one entry"]),
        ("a: [n1]", [], ["$.a: found ['n1'], wanted a mapping with at least one entry"]),
        (
            "a: {N1: {}, n2: {}, 3: {}}",
            ["n2"],
            ["$.a: found the key 'N1', wanted small letters", "$.a: found the key 3, wanted"],
        ),
        ("a: {n1: x}", ["n1"], ["$.a.n1: found 'x', wanted a mapping"]),
    ],
)
def test_mappings_by_name(text: str, names: list[str], problems: list[str]) -> None:
    found, told = read(text, lambda r: [name for name, _ in r.mapping("a", names=NAMES)])
    assert found == names
    assert [line[: len(start)] for line, start in zip(told, problems, strict=True)] == problems


def test_unknown_keys_name_the_nearest() -> None:
    def ask(reader: Reader) -> None:
        reader.text("address", default="")
        reader.number("port", default=22)
        reader.done()

    assert read("adress: x\nprot: 1\nzzz: 2\n7: 3\nport: 4", ask)[1] == [
        "$.adress: found an unknown key, wanted one of address, port; did you mean address?",
        "$.prot: found an unknown key, wanted one of address, port; did you mean port?",
        "$.zzz: found an unknown key, wanted one of address, port",
        "$.7: found an unknown key, wanted one of address, port",
    ]


def test_all_problems_are_raised_at_once() -> None:
    reader = Reader({"a": 1, "b": {"c": "x"}}, "f.yaml")
    reader.raise_problems("fine so far")
    reader.text("a")
    reader.child("b").number("c")
    with pytest.raises(InputError) as caught:
        reader.raise_problems("the file can't be used:")
    assert [problem.where for problem in caught.value.problems] == ["$.a", "$.b.c"]
    assert str(caught.value).splitlines()[0] == "the file can't be used:"


def test_what_messages_show() -> None:
    assert describe(None) == "nothing"
    assert len(describe("x" * 1000)) == 80
    assert nearest("tensr", ("tensor", "data")) == "tensor"
    assert nearest("x", ("tensor", "data")) is None
