"""The commands of a script are sorted: engines' launches, files that are written, and the rest."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType

from infra.flags.words import Token
from infra.lint import pins
from infra.lint.around import directives, image_of, with_words
from infra.lint.document import Around, Found, Launch, Other, Pin, Written
from infra.lint.scope import MAX_EXPORTED
from infra.lint.shell import Script, Simple
from infra.lint.signature import NOT_RUN, base, find, implied, mentions

MAX_LAUNCHES = 500
MAX_WORDS = 5000
"""Of all engine commands together; each word may be compared with every option that a release has."""
MAX_OTHERS = 4000
_SCRIPTS = (".bash", ".job", ".sbatch", ".sh", ".slurm")
_SHELLS = frozenset({"bash", "sh", "zsh", "dash", "ksh", "ash"})
_FED = _SHELLS | {"ssh", "sbatch", "srun", "docker", "podman", "kubectl", "sudo", "env", "su", "pdsh", "salloc", "oc"}
_RUNS = re.compile(r"\$\([^)]{0,2000}\)")
"""Substitutions, whose commands were found where they stand."""
_MANIFEST = re.compile(r"^(?:apiVersion|services|kind):", re.MULTILINE)


@dataclass(slots=True)
class Collector:
    """Takes commands as they are found, and keeps what matters of them."""

    around: Around = field(default_factory=Around)
    block: int = 0
    flat: bool = False
    launches: list[Launch] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    files: dict[str, Written] = field(default_factory=dict)
    pins: list[Pin] = field(default_factory=list)
    manifests: list[tuple[str, int]] = field(default_factory=list)
    """YAML documents that are fed to `kubectl`, with their lines."""
    words_taken: int = 0
    overflow: bool = False

    def take(self, command: Simple, script: Script, depth: int) -> None:
        """One simple command of a script."""
        words = _calm(command.words)
        name = base(words[0]) if words else ""
        if name in ("cat", "tee", "echo", "printf") and command.document is not None:
            self._write(words, name, command)
            self._written(words, name, command, script, depth)
        if not words:
            return
        if name == "eval" and len(words) > 1:
            opaque = not all(token.known for token in words)
            script.run(" ".join(token.text for token in words[1:]), words[0].line, depth + 1, opaque=opaque)
            return
        found, before = self._found(words)
        if found:
            self._launch(found, before, command, script)
            return
        if not NOT_RUN.fullmatch(name) and self._nested(words, script, depth):
            return
        if command.document is not None and name in _FED:
            self._feed(words, command, script, depth)
        self._other(words, command)

    def words(self, words: Sequence[Token], script: Script, around: Around) -> None:
        """A command that is a list of words already, as manifests have them."""
        calm = _calm(words)
        found = find(calm)
        if not found and (started := implied(around.image, calm)):
            self._keep(started, around, {}, (words[0].line, words[-1].line))
        elif found:
            self._keep(
                found, with_words(calm[: len(calm) - len(found.words)], around), {}, (words[0].line, words[-1].line)
            )
        elif calm and not self._nested(calm, script, 0):
            self.others.append(Other(words=calm, line=calm[0].line))

    def _found(self, words: Sequence[Token]) -> tuple[Found | None, Sequence[Token]]:
        found = find(words)
        if found and found.words[0] is not words[0]:
            return found, words[: len(words) - len(found.words)]
        if found:
            return found, ()
        image, entry, arguments = image_of(words)
        if not image:
            return None, ()
        before = words[: len(words) - len(arguments)]
        if entry:
            return find((Token(text=entry, line=words[0].line), *arguments)), before
        return implied(image, arguments), before

    def _launch(self, found: Found, before: Sequence[Token], command: Simple, script: Script) -> None:
        env = {**({} if self.overflow else dict(script.scope.env())), **command.env}
        seen = {
            **({} if self.overflow else dict(islice(script.scope.exported.items(), MAX_EXPORTED))),
            **command.env_lines,
        }
        self._keep(found, with_words(before, self.around), env, (command.line, command.end_line), seen)

    def _keep(
        self,
        found: Found,
        around: Around,
        env: dict[str, str],
        lines: tuple[int, int],
        env_lines: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.words_taken += len(found.words)
        if len(self.launches) >= MAX_LAUNCHES or self.words_taken > MAX_WORDS:
            self.overflow = True
            return
        line = found.words[0].line
        self.launches.append(
            Launch(
                found=found,
                line=line,
                start_line=min(lines[0], line),
                end_line=max(lines[1], line),
                env={**env, **around.env},
                env_lines=env_lines,
                around=around,
                block=self.block,
                flat=self.flat,
                partial=around.entry,
            )
        )

    def _nested(self, words: Sequence[Token], script: Script, depth: int) -> bool:
        """Scripts in one word: `bash -c "…"`, `ssh host '…'`, `sbatch --wrap="…"`."""
        ran = False
        for at, token in enumerate(words[:200]):
            text = token.text
            if text.startswith("--wrap="):
                text = text.removeprefix("--wrap=")
            is_script = (
                at
                and re.fullmatch(r"-[a-z]*c", words[at - 1].text)
                and any(base(word) in _SHELLS for word in words[max(0, at - 4) : at])
            )
            if (is_script or any(char in text for char in " \n\t")) and mentions(_RUNS.sub("", text)):
                before = self.around
                self.around = with_words(words[:at], before)
                script.run(text, token.line or words[0].line, depth + 1, opaque=not token.known)
                self.around = before
                ran = True
        return ran

    def _targets(self, words: Sequence[Token], name: str, command: Simple) -> list[str]:
        """The files that a here-document is written to."""
        targets = [command.writes] if command.writes else []
        if name == "tee":
            targets += [token.text for token in words[1:] if not token.text.startswith("-")]
        return targets

    def _write(self, words: Sequence[Token], name: str, command: Simple) -> None:
        for target in self._targets(words, name, command):
            before = self.files.get(target)
            text = command.document or ""
            if before and command.appends and len(before.text) < pins.MAX_FILE:
                self.files[target] = Written(text=before.text + text, line=before.line)
            else:
                self.files[target] = Written(text=text, line=command.document_line)

    def _written(self, words: Sequence[Token], name: str, command: Simple, script: Script, depth: int) -> None:
        """A here-document that becomes a script or a manifest: to be run or applied later, here or elsewhere."""
        text = command.document or ""
        targets = self._targets(words, name, command)
        if not targets:
            return
        if all(target.endswith((".yaml", ".yml")) for target in targets) and _MANIFEST.search(text):
            self.manifests.append((text, command.document_line))
        elif mentions(text) and (text.startswith("#!") or all(target.endswith(_SCRIPTS) for target in targets)):
            before = self.around
            self.around = replace(before, directives=directives(text) or before.directives)
            script.run(text, command.document_line, depth + 1)
            self.around = before

    def _feed(self, words: Sequence[Token], command: Simple, script: Script, depth: int) -> None:
        """A here-document that a shell, or a shell elsewhere, reads."""
        text = command.document or ""
        if base(words[0]) in ("kubectl", "oc") and _MANIFEST.search(text):
            self.manifests.append((text, command.document_line))
        elif mentions(text):
            before = self.around
            self.around = with_words(words, before)
            script.run(text, command.document_line, depth + 1)
            self.around = before

    def _other(self, words: tuple[Token, ...], command: Simple) -> None:
        for package, release in pins.installed(words):
            if release and package in pins.PACKAGES:
                self.pins.append(Pin(package=package, release=release, line=words[0].line))
        if len(self.others) < MAX_OTHERS:
            self.others.append(Other(words=words, line=words[0].line, env=command.env))


def _calm(words: Sequence[Token]) -> tuple[Token, ...]:
    """A substitution after an option is its value, and one word."""
    return tuple(
        replace(token, splits=False)
        if token.splits and at and token.text.startswith(("$(", "`")) and _takes_value(words[at - 1].text)
        else token
        for at, token in enumerate(words)
    )


def _takes_value(text: str) -> bool:
    return text.startswith("-") and "=" not in text
