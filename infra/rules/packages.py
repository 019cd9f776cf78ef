"""Packages: what a document installs, and what of it can't be together with what it runs."""

import re
from collections.abc import Iterator, Mapping, Sequence

from infra.rules.distributions import CLAUSE, PYTHON, REQUIRES, installed, pinned, satisfies
from infra.rules.gpus import uses_ray
from infra.rules.release import key
from infra.rules.rule import VLLM, Breach, Rule
from infra.rules.script import Flaw, Script, ScriptRule, Step
from infra.rules.subject import Subject

_MADE = re.compile(r"python(?:==?|=)?([23]\.[0-9]{1,2})(?:\.[0-9]+)?")


def _ray(s: Subject) -> Iterator[Breach]:
    if uses_ray(s) and "vllm" in s.packages and "ray" not in s.packages:
        yield Breach(
            options=("distributed-executor-backend", "data-parallel-backend"),
            found="the Ray back end, and an environment into which ray is not installed",
            wanted="ray beside vllm",
            fix="pip install ray",
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="ray-installed",
        engines=VLLM,
        since="0.18.0",
        title="the Ray back end in an environment without Ray",
        why="ray is not among vLLM's dependencies since 0.18",
        source="vllm 0.18.1 and 0.19.1: Requires-Dist",
        check=_ray,
    ),
)


BRINGS_HUB = frozenset({"huggingface-hub", "transformers", "vllm", "sglang", "sglang-kt", "transformers-kt"})
"""Distributions that come with huggingface_hub; without a pin, with that of today."""


def _hub_at_most(asked: Mapping[str, str]) -> str:
    """A version of huggingface_hub that is the newest that the document lets in: "0.33", "0.36", or "" for today's."""
    hub = asked.get("huggingface-hub", "")
    exact = pinned(hub)
    if exact:
        return exact
    upper = [bound for operator, bound in CLAUSE.findall(hub) if operator in ("<", "<=", "~=")]
    if any(key(bound) <= key("1.0") for bound in upper):
        return "0.33" if any(key(bound) <= key("0.34") for bound in upper) else "0.36"
    transformers = asked.get("transformers", "")
    for (engine, release), needs in REQUIRES.items():
        if pinned(asked.get(engine, "")) == release and pinned(needs.get("transformers", "")):
            transformers = needs["transformers"]
    bounds = [bound for operator, bound in CLAUSE.findall(transformers) if operator in ("==", "<", "<=", "~=")]
    return "0.36" if any(key(bound) <= key("5.0") for bound in bounds) else ""


def _programs(script: Script, name: str) -> Iterator[tuple[Step, int]]:
    for step in script.steps:
        for n, word in enumerate(step.words):
            if word.rpartition("/")[2] == name:
                yield step, n
                break


def _hub_cli(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    newest = _hub_at_most(asked)
    if not BRINGS_HUB & asked.keys() or (newest and key(newest) < key("1.0")):
        return
    kept = f"huggingface_hub {newest}" if newest else "nothing that keeps huggingface_hub below 1.0"
    for step, words in _downloads(script):
        yield Flaw(
            place=step.place,
            word="huggingface-cli",
            found=f"huggingface-cli, and {kept}",
            wanted="hf",
            fix=f"write {' '.join(_modern(words))}",
        )


def _downloads(script: Script) -> Iterator[tuple[Step, list[str]]]:
    """The uses of huggingface-cli, each with the words after it."""
    for step, at in _programs(script, "huggingface-cli"):
        words = list(step.words[at + 1 :])
        if words and not words[0].startswith("-"):
            yield step, words


def _modern(words: Sequence[str]) -> Iterator[str]:
    yield "hf"
    skip = False
    for word in words:
        gone = word.partition("=")[0] in ("--local-dir-use-symlinks", "--resume-download")
        if gone:
            skip = word == "--local-dir-use-symlinks"
        elif skip:
            skip = False
        else:
            yield word


def _hub_cli_old(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    newest = _hub_at_most(asked)
    told = not (key("0.34") <= key(newest) < key("1.0")) if newest else bool(BRINGS_HUB & asked.keys())
    if told:
        return
    for step, words in _downloads(script):
        yield Flaw(
            place=step.place,
            word="huggingface-cli",
            found=f"huggingface-cli with huggingface_hub {newest}" if newest else "huggingface-cli",
            wanted="hf",
            fix=f"write {' '.join(_modern(words))}",
        )


def _hub_extra(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    newest = _hub_at_most(asked)
    if "huggingface-hub[cli]" in asked and (not newest or key(newest) >= key("1.0")):
        yield Flaw(
            place=_place_of(script, "huggingface-hub[cli]"),
            word="huggingface_hub[cli]",
            found=f"the extra cli of huggingface_hub {newest or 'of today'}",
            wanted="huggingface_hub alone",
            fix="leave [cli] out",
        )


def _hf_too_new(script: Script) -> Iterator[Flaw]:
    newest = _hub_at_most(installed(script.steps))
    if newest and key(newest) < key("0.34"):
        for step, _ in _programs(script, "hf"):
            yield Flaw(
                place=step.place,
                word="hf",
                found=f"hf with huggingface_hub {newest}",
                wanted="huggingface_hub 0.34 or newer",
                fix="install a newer huggingface_hub, or write huggingface-cli",
            )


def _place_of(script: Script, name: str) -> str:
    """Where a distribution is installed last."""
    places = [step.place for step in script.steps if name in installed([step])]
    return places[-1] if places else ""


def _two_sglangs(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    apart = ("uninstall", "venv", "create", "docker", "virtualenv")
    several = any(word in apart for step in script.steps for word in step.words)
    if {"sglang", "sglang-kt"} <= asked.keys() and not several:
        yield Flaw(
            place=_place_of(script, "sglang-kt"),
            word="sglang-kt",
            found="sglang and sglang-kt in one environment",
            wanted="one of them",
            fix="pip uninstall -y sglang before sglang-kt is installed",
        )


def _two_transformers(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    if "sglang-kt" in asked and "transformers" in asked:
        yield Flaw(
            place=_place_of(script, "transformers"),
            word="transformers",
            found="transformers beside sglang-kt",
            wanted="transformers-kt alone, which sglang-kt brings",
            fix="leave transformers out",
        )


def _outside(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    for (engine, release), needs in REQUIRES.items():
        if pinned(asked.get(engine, "")) != release:
            continue
        for name, wanted in needs.items():
            version = pinned(asked.get(name, ""))
            if version and not satisfies(version, wanted):
                yield Flaw(
                    place=_place_of(script, name),
                    word=f"{name}=={version}",
                    found=f"{name} {version} beside {engine} {release}",
                    wanted=f"{name} {wanted}",
                    fix=f"leave {name} out, or pin it within that",
                )


def _python(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    made = [(version, step.place) for step in script.steps for version in _pythons(step.words)]
    if len({version for version, _ in made}) != 1:
        return
    version, place = made[0]
    for (engine, release), wanted in PYTHON.items():
        if pinned(asked.get(engine, "")) == release and not satisfies(version, wanted):
            yield Flaw(
                place=place,
                word=f"python={version}",
                found=f"Python {version} for {engine} {release}",
                wanted=f"Python {wanted}",
                fix="make the environment with Python 3.12",
            )


def _pythons(words: Sequence[str]) -> Iterator[str]:
    """The Python versions of the environments that a command makes."""
    if "create" in words or "venv" in words:
        for n, word in enumerate(words):
            found = _MADE.fullmatch(word.rpartition("/")[2])
            if found:
                yield found[1]
            elif word in ("--python", "-p") and re.fullmatch(r"3\.[0-9]+", words[n + 1] if n + 1 < len(words) else ""):
                yield words[n + 1]


def _router(script: Script) -> Iterator[Flaw]:
    asked = installed(script.steps)
    for step in script.steps:
        module = next((w for w in step.words if w.startswith("sglang_router.")), "")
        if module and {"sglang", "sglang-kt"} & asked.keys() and "sglang-router" not in asked:
            yield Flaw(
                place=step.place,
                word=module,
                found=f"{module}, and an environment into which sglang-router is not installed",
                wanted="sglang-router beside sglang",
                fix="pip install sglang-router",
            )


SCRIPT_RULES: tuple[ScriptRule, ...] = (
    ScriptRule(
        name="huggingface-cli",
        title="huggingface-cli where huggingface_hub is not kept below 1.0",
        why="the program went with 1.0, which transformers 5 brings; the script would go on without the files",
        source="huggingface_hub 0.34.4, 0.36.2, 1.0.1, 2.4.0: console scripts",
        check=_hub_cli,
    ),
    ScriptRule(
        name="huggingface-cli-deprecated",
        level="warning",
        title="huggingface-cli with huggingface_hub 0.34 to 0.36, or with one that is not known",
        why="from 0.34 it says that it is deprecated and ignores --local-dir-use-symlinks; from 1.0 it is not there",
        source="huggingface_hub 0.34.4, 0.36.2: console scripts",
        check=_hub_cli_old,
    ),
    ScriptRule(
        name="huggingface-hub-extra",
        level="warning",
        title="the extra cli of huggingface_hub 1.0 or newer",
        why="the extra went with 1.0, whose own requirements bring the program hf: pip warns and goes on",
        source="huggingface_hub 0.36.2, 1.0.1, 2.4.0: Provides-Extra",
        check=_hub_extra,
    ),
    ScriptRule(
        name="hf",
        title="hf with huggingface_hub below 0.34",
        why="the program came with 0.34",
        source="huggingface_hub 0.34.4: console scripts",
        check=_hf_too_new,
    ),
    ScriptRule(
        name="two-sglangs",
        title="sglang and its fork sglang-kt in one environment",
        why="both are the Python package sglang: the one installed last overwrites files of the other",
        source="sglang-kt 0.7.2: RECORD; kvcache-ai/ktransformers, doc/en/Kimi-K2.5.md",
        check=_two_sglangs,
    ),
    ScriptRule(
        name="two-transformers",
        title="transformers beside the fork of it that sglang-kt brings",
        why="both are the Python package transformers",
        source="sglang-kt 0.7.2: Requires-Dist transformers-kt",
        check=_two_transformers,
    ),
    ScriptRule(
        name="package-bounds",
        title="a pin outside of what the pinned engine requires",
        why="pip refuses to install the two together, or replaces what the engine was built against",
        source="Requires-Dist of the engine's wheel",
        check=_outside,
    ),
    ScriptRule(
        name="python-version",
        title="an environment of a Python that the pinned engine does not support",
        why="pip finds no such release for that Python",
        source="Requires-Python of the engine's wheel",
        check=_python,
    ),
    ScriptRule(
        name="router-installed",
        title="sglang_router in an environment without sglang-router",
        why="sglang does not depend on it",
        source="sglang 0.5.23: Requires-Dist; sglang-router 0.3.2",
        check=_router,
    ),
)
