"""The shipped tables, the histories and the list of replacements, held against one another."""

import json
import time
from pathlib import Path

import pytest

from infra.flags.history import history
from infra.flags.replaced import REPLACED, VALUES, replacement
from infra.flags.table import FOLDER, Flag, age, load, newest, releases, render

SHIPPED: dict[str, tuple[str, ...]] = {
    "vllm": ("0.10.0", "0.19.1", "0.33.0"),
    "vllm-bench-serve": ("0.10.0", "0.19.1", "0.33.0"),
    "sglang": ("0.4.9.post6", "0.5.9", "0.5.10.post1", "0.5.23"),
    "sglang-kt": ("0.7.2",),
    "sglang-router": ("0.3.2",),
    "kt-kernel": ("0.7.2",),
    "ktransformers": ("0.3.2",),
    "trtllm": ("1.3.0rc3", "main-2026"),
    "huggingface-hub": ("0.34.4", "0.36.2", "1.0.1", "2.4.0"),
    "huggingface-cli": ("0.34.4", "0.36.2"),
}
TABLES = [(engine, release) for engine, found in SHIPPED.items() for release in found]
KINDS = {
    "switch", "bool", "int", "float", "size", "size-or-auto", "size-si", "text", "json", "json-or-text", "lora", "any",
}  # fmt: skip
LOAD_SECONDS = 0.3
"""Ten times what a table may take, because the machines of a test are busy."""


@pytest.mark.parametrize("engine", SHIPPED)
def test_releases_are_sorted_by_age(engine: str) -> None:
    assert releases(engine) == SHIPPED[engine]
    assert newest(engine) == SHIPPED[engine][-1]


def test_an_engine_without_tables() -> None:
    assert releases("nobody") == ()
    assert newest("nobody") == ""


def test_ages() -> None:
    names = ["0.4.9", "0.4.9.post6", "0.5.9", "0.5.10rc1", "0.5.10", "0.5.10.post1", "1.3.0rc3", "1.3.0", "main-2026"]
    assert sorted(["main-2026", *names[:-1]], key=age) == names


@pytest.mark.parametrize(("engine", "release"), TABLES)
def test_a_table_is_sound(engine: str, release: str) -> None:
    table = load(engine, release)
    assert (table.engine, table.release) == (engine, release)
    assert table.source
    assert list(table.flags) == sorted(table.flags, key=list(table.flags).index)
    for name, flag in table.flags.items():
        assert name.startswith("-"), name
        assert flag.kind in KINDS, name
        assert not flag.choices or flag.takes_value, name
        assert flag.source or engine in ("trtllm", "ktransformers"), name
        if isinstance(flag.shape, dict) and "class" in flag.shape:
            assert flag.shape["class"] in table.classes, name
    if table.root:
        assert table.root in table.classes


@pytest.mark.parametrize(("engine", "release"), TABLES)
def test_a_table_loads_fast_and_is_one_line_a_flag(engine: str, release: str) -> None:
    load.cache_clear()
    begun = time.perf_counter()
    table = load(engine, release)
    assert time.perf_counter() - begun < LOAD_SECONDS
    lines = (FOLDER / f"{engine}-{release}.json").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith('  "-') for line in lines) == len(table.flags)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_history_agrees_with_the_tables(engine: str) -> None:
    past = history(engine)
    assert list(past.releases) == sorted(past.releases, key=age)
    for release in releases(engine):
        table = load(engine, release)
        for name in table.spellings:
            if name.startswith("--") and not name.startswith("--no-"):
                runs = past.flags[name].runs
                assert any(age(first) <= age(release) <= age(last) for first, last in runs), (release, name)


def test_what_the_history_tells() -> None:
    past = history("vllm")
    assert past.told("--swap-space", "0.19.1") == "the last release read that has it is 0.17.1, 0.18.0 has not"
    assert past.told("--numa-bind", "0.19.1") == "it came after this release; 0.20.0 has it"
    assert past.told("--nonsense", "0.19.1") == ""
    assert history("nobody").told("--x", "1") == ""


@pytest.mark.parametrize("engine", REPLACED)
def test_every_replacement_exists_in_some_release(engine: str) -> None:
    tables = [load(engine, release) for release in releases(engine)]
    for entry in REPLACED[engine]:
        assert entry.engine == engine, entry.flag
        assert any(entry.fits(table) for table in tables), entry.flag
        assert entry.fix or entry.to or entry.words or entry.by_value, entry.flag
        known = all(entry.flag in table.spellings for table in tables)
        assert not known or any(table.flags[table.spellings[entry.flag]].deprecated is not None for table in tables), (
            entry.flag
        )


def test_every_value_that_replaces_another_is_a_choice() -> None:
    for (engine, name, _), better in VALUES.items():
        tables = [load(engine, release) for release in releases(engine)]
        assert any(better in table.flags[name].choices for table in tables if name in table.flags), (engine, name)


def test_the_first_replacement_that_the_release_has() -> None:
    new, old = load("sglang", "0.5.23"), load("sglang", "0.5.9")
    assert (replacement(new, "--nsa-decode") or Flag).to == "--dsa-decode-backend"  # type: ignore[union-attr]
    assert (replacement(old, "--nsa-decode") or Flag).to == "--nsa-decode-backend"  # type: ignore[union-attr]
    assert replacement(new, "--nonsense") is None


def test_a_word_of_a_value_with_a_dash_stays_attached() -> None:
    assert render(Flag(kind="int"), "x", -1) == ("--x=-1",)
    assert render(Flag(kind="json"), "x", {"a": 1}) == ("--x", '{"a": 1}')
    assert render(Flag(kind="bool", negative=("--no-x", "--disable-x")), "x", False) == ("--no-x",)
    assert render(Flag(kind="switch"), "x", False) == ()


def test_no_index_is_named_in_the_data() -> None:
    for path in Path(FOLDER).glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert "https://" not in text, path.name
        json.loads(text)
