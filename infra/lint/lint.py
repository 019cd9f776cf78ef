"""A document's commands, each held against its engine's release and the rules, with what to write instead."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hosts.problem import Problem
from infra.flags import table as tables
from infra.flags.check import Checked, check, corrected
from infra.flags.finding import Finding
from infra.flags.table import FlagTable
from infra.flags.words import Token
from infra.lint import beside, between, slips
from infra.lint import choice as choices
from infra.lint.choice import Choice
from infra.lint.document import Document, Launch
from infra.lint.mended import known_problems, mend, without_prose
from infra.lint.read import read
from infra.lint.result import LintedCommand, LintResult
from infra.rules import Context, Script, Step, Subject, findings, of_command, script_findings
from infra.rules.distributions import installed
from infra.rules.gpus import about_others, named_in
from infra.rules.script import ScriptFinding

ENGINES = ("vllm", "sglang", "sglang-kt", "kt-kernel", "trtllm")
_MAIN = frozenset({"vllm", "sglang", "sglang-kt", "trtllm", "kt-kernel"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A document, and the YAML that it writes."""

    document: Document
    files: Mapping[str, object]
    steps: tuple[Step, ...]
    """Its commands that start no engine."""
    packages: Mapping[str, str]
    gpu: str | None
    about_others: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """One command with all that was found out about it."""

    launch: Launch
    engine: str
    choice: Choice
    words: tuple[Token, ...]
    checked: Checked | None
    subject: Subject | None
    findings: tuple[Finding, ...]
    slips: tuple[Problem, ...]


def lint(text: str, name: str, engine: str | None = None, release: str | None = None) -> LintResult:
    """Everything that is wrong with the engine commands of a text, and those commands corrected."""
    document = read(text, name)
    of = _with_surroundings(document)
    held = [
        _held(of, launch, engine, release)
        for launch in document.launches
        if engine is None or _engine(document, launch, engine) == engine or not launch.found.engine
    ]
    around = tuple(script_findings(_script(of, held)))
    problems = [problem for one in held for problem in (*one.slips, *(found.problem for found in one.findings))]
    problems += [found.problem for found in around]
    problems += [problem for one in held for problem in choices.warnings(one.engine, one.choice)]
    problems = sorted(known_problems(problems), key=_line)
    return LintResult(
        name=name,
        document=document,
        commands=tuple(_command(one, around) for one in held if one.engine),
        problems=tuple(problems),
        limits=document.limits,
    )


def _engine(document: Document, launch: Launch, wanted: str | None) -> str:
    """The engine's name: the fork of SGLang where its own options or the text say so."""
    engine = launch.found.engine
    if engine != "sglang" or launch.found.table != "sglang":
        return engine
    if wanted in ("sglang", "sglang-kt"):
        return wanted
    given = {token.text.partition("=")[0] for token in launch.found.words if token.text.startswith("--kt-")}
    if not given:
        return engine
    if any(pin.package == "sglang-kt" for pin in document.pins) or document.names_fork:
        return "sglang-kt"
    if any(pin.package == "sglang" and pin.operator == "==" for pin in document.pins):
        return engine
    fork = tables.load("sglang-kt", tables.newest("sglang-kt")).spellings
    upstream = tables.load("sglang", tables.newest("sglang")).spellings
    return "sglang-kt" if any(name in fork and name not in upstream for name in given) else engine


def _held(of: _Read, launch: Launch, wanted: str | None, release: str | None) -> _Held:
    document = of.document
    engine = _engine(document, launch, wanted)
    name = engine if launch.found.table in ("sglang", "vllm", "trtllm", "kt-kernel") else launch.found.table
    given = _given(document, engine, wanted, release)
    main = choices.choose(document, launch, engine, engine, given)
    own = (
        main
        if name in ("", engine)
        else choices.choose(document, launch, engine, name, given if name == "vllm-bench-serve" else "")
    )
    table = tables.load(name, own.table) if name and own.table else None
    words, mistakes = mend(launch.found.words)
    if launch.flat:
        words = (*words[: launch.found.names], *without_prose(words[launch.found.names :], table))
    arguments = words[launch.found.names :]
    checked = _checked(of, table, launch, arguments) if table else None
    held_to = main.meant or own.table or main.table
    whole = _with_file(of, table, launch, arguments, checked) if table and checked and name in _MAIN else None
    subject = of_command(whole, _context(of, launch, engine, held_to)) if whole else None
    found = list(checked.findings) if checked else []
    second = tables.load(name, own.other) if not own.exact and own.other else None
    if checked and not own.exact:
        other = _checked(of, second, launch, arguments) if second else None
        found = list(between.findings(name, own, checked, other))
    if checked and table:
        found += beside.variables(table, second, launch)
        found += beside.configuration(table, checked, of.files, document.files)
    found += findings(subject) if subject else []
    return _Held(
        launch=launch,
        engine=engine,
        choice=main if main.table else own,
        words=words,
        checked=checked,
        subject=subject,
        findings=tuple(found),
        slips=(*slips.of_launch(document, launch), *mistakes),
    )


def _checked(of: _Read, table: FlagTable, launch: Launch, arguments: Sequence[Token]) -> Checked:
    program, cut = launch.found.program, {note.line for note in of.document.notes if note.kind == "cut"}
    named = any(token.text.startswith("--model") for token in arguments)
    by_module = named if program == "vllm image" else program not in ("vllm serve", "sglang serve")
    partial = launch.partial or not arguments or bool(cut & slips.lines_of(launch))
    return check(table, arguments, module=by_module, partial=partial)


def _with_file(
    of: _Read, table: FlagTable, launch: Launch, arguments: Sequence[Token], checked: Checked
) -> Checked | None:
    """The command with the options of its configuration file; None where the document does not have that file."""
    before = beside.configured(table, checked, of.files, of.document.files)
    if not before:
        return None if before is None else checked
    return _checked(of, table, launch, (*before, *arguments))


def _given(document: Document, engine: str, wanted: str | None, release: str | None) -> str:
    """The release asked for, where it is this engine's."""
    if not release:
        return ""
    if wanted is not None or len({launch.found.engine for launch in document.launches if launch.found.engine}) < 2:
        return release
    has = [name for name in ENGINES if release in tables.releases(name)]
    return release if engine in has or not has else ""


def _context(of: _Read, launch: Launch, engine: str, release: str) -> Context:
    document = of.document
    around = launch.around
    started = any([token.text for token in other.words[:2]] == ["ray", "start"] for other in document.others)
    return Context(
        engine=engine,
        release=release,
        place=f"line {launch.line}",
        program=launch.found.program,
        prefix=around.prefix,
        directives=around.directives,
        env=launch.env,
        packages=of.packages,
        files=of.files,
        file_texts={path: written.text for path, written in document.files.items() if path in of.files},
        file_places={path: f"line {written.line}" for path, written in document.files.items()},
        published=around.published,
        gpus_per_node=around.gpus_per_node,
        gpu=of.gpu,
        about_others=of.about_others,
        ray_started=started or document.names_ray or None,
    )


def _files(document: Document) -> dict[str, object]:
    """The YAML that the document writes, parsed."""
    found: dict[str, object] = {}
    for path, written in list(document.files.items())[:50]:
        if path.endswith((".yaml", ".yml")) and len(written.text) < 1 << 16:
            from infra.lint.manifest import plain  # noqa: PLC0415 - only where there is YAML

            found[path] = plain(written.text)
    return found


def _with_surroundings(document: Document) -> _Read:
    steps = tuple(
        Step(words=_texts(other.words), place=f"line {other.line}", env=other.env, known=_known(other.words))
        for other in document.others
    )
    return _Read(
        document=document,
        files=_files(document),
        steps=steps,
        packages=installed(steps),
        gpu=named_in(document.text),
        about_others=about_others(document.text),
    )


def _script(of: _Read, held: Sequence[_Held]) -> Script:
    """The document as the rules about several commands see it."""
    document = of.document
    steps = [(other.line, step) for other, step in zip(document.others, of.steps, strict=True)]
    steps += [(one.launch.line, _step(one)) for one in held if one.subject is None]
    steps.sort(key=lambda pair: pair[0])
    return Script(
        subjects=tuple(one.subject for one in held if one.subject),
        steps=tuple(step for _, step in steps),
        pinned={pin.package: pin.release for pin in document.pins if pin.operator == "=="},
        text=tuple((f"line {n}", row) for n, row in enumerate(document.text.split("\n"), start=1)),
    )


def _step(one: _Held) -> Step:
    return Step(words=_texts(one.words), place=f"line {one.launch.line}", env=one.launch.env, known=_known(one.words))


def _texts(words: Sequence[Token]) -> tuple[str, ...]:
    return tuple(token.text for token in words)


def _known(words: Sequence[Token]) -> bool:
    return all(token.known for token in words)


def _command(one: _Held, around: Sequence[ScriptFinding]) -> LintedCommand:
    names = one.launch.found.names
    own = [found for found in around if found.edit and any(subject is one.subject for subject in found.subjects)]
    better: tuple[str, ...] | None = None
    if one.checked is not None:
        better = corrected(one.checked, one.words[names:], (*one.findings, *own))
    argv, original = _texts(one.words[:names]), _texts(one.words)
    full = None if better is None else (*argv, *better)
    return LintedCommand(
        line=one.launch.line,
        engine=one.engine,
        release=one.choice.meant or one.choice.table,
        table=one.choice.table,
        argv=_texts(one.launch.found.words) if not one.launch.flat else original,
        corrected=full if full is not None and (full != original or one.slips) else None,
        launch=one.launch,
        checked=one.checked,
        words=one.words,
    )


def _line(problem: Problem) -> int:
    found = re.fullmatch(r"line (\d+)", problem.where)
    return int(found[1]) if found else 0
