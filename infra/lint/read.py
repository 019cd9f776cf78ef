"""A document of any kind people keep launch lines in, read into its commands."""

from dataclasses import replace
from itertools import islice

from hosts.errors import InputError
from hosts.problem import Problem
from infra.flags.words import Token
from infra.lint import pins, unit_file
from infra.lint.around import directives
from infra.lint.blocks import Block, cut, has_code
from infra.lint.collect import Collector
from infra.lint.container_file import ContainerFile
from infra.lint.document import Around, Document
from infra.lint.expand import words_of
from infra.lint.shell import Script
from infra.lint.signature import mentions

MAX_PINS = 500
MAX_CHARACTERS = 1 << 20
"""The longest document that is read."""


def read(text: str, name: str) -> Document:
    """Everything that the document says of engines. Raises InputError where it is too long."""
    if len(text) > MAX_CHARACTERS:
        found = f"{len(text)} characters"
        raise InputError([Problem(where="$", found=found, wanted=f"at most {MAX_CHARACTERS} in {name}")])
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    collector = Collector()
    script = Script(found=collector.take)
    for number, block in enumerate(cut(text, name)):
        collector.block, collector.flat, script.counts = number, block.flat, not block.flat
        script.scope.exported.pop("CUDA_VISIBLE_DEVICES", None)  # the next block may be for another machine
        notes = len(script.notes)
        _read(block, collector, script)
        if block.flat:
            del script.notes[notes:]
    for manifest, line in collector.manifests:
        _read(Block(kind="yaml", text=manifest, line=line), collector, script)
    return Document(
        name=name,
        launches=tuple(sorted(collector.launches, key=lambda launch: launch.line)),
        others=tuple(collector.others),
        files=collector.files,
        pins=(*islice(pins.of_text(text), MAX_PINS), *collector.pins[:MAX_PINS]),
        names_fork=pins.names_the_fork(text),
        names_ray=pins.names_ray(text),
        notes=tuple(script.notes),
        text=text,
        limits=(f"{name}: more engine commands, or longer ones, than are checked; the rest was left out",)
        if collector.overflow
        else (),
    )


def _read(block: Block, collector: Collector, script: Script) -> None:
    collector.around = Around()
    if block.kind == "shell":
        collector.around = Around(directives=directives(block.text))
        script.run(block.text, block.line)
    elif block.kind == "unit":
        for text, line in unit_file.scripts(block.text, block.line):
            script.run(text, line)
    elif block.kind == "dockerfile":
        ContainerFile(script=script, words=_taking(collector, script)).read(block.text, block.line)
    else:
        _read_manifest(block, collector, script)


def _read_manifest(block: Block, collector: Collector, script: Script) -> None:
    from infra.lint.manifest import Manifest  # noqa: PLC0415 - YAML is loaded where there is some

    def shell(text: str, line: int, around: Around) -> None:
        if has_code(text):
            for inside in cut(text, ".md"):
                _read(replace(inside, line=line + inside.line - 1), collector, script)
            return
        if mentions(text) or (around.image and text.lstrip().startswith("-")):
            collector.around = around
            start = len(collector.launches)
            inner = Script(found=collector.take)
            inner.run(text, line)
            script.notes.extend(inner.notes)
            if len(collector.launches) == start:
                collector.words(words_of(text, line), inner, around)

    manifest = Manifest(words=_taking(collector, script), script=shell, base=block.line - 1)
    if not manifest.read(block.text) and not collector.launches and mentions(block.text):
        script.run(block.text, block.line)


class _Taking:
    """Hands argument lists to the collector."""

    def __init__(self, collector: Collector, script: Script) -> None:
        self._collector, self._script = collector, script

    def __call__(self, words: tuple[Token, ...], around: Around) -> None:
        self._collector.around = around
        inner = Script(found=self._collector.take)
        self._collector.words(words, inner, around)
        self._script.notes.extend(inner.notes)


_taking = _Taking
