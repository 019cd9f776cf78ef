"""A script is followed from its first line to its last, and its commands come out with what is known of their words."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from infra.flags.words import Token
from infra.lint.expand import Expander
from infra.lint.lexer import Item, Lexer, Operator, Redirect
from infra.lint.scope import Scope
from infra.lint.words import MAX_DEPTH, Note, Piece, Word

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(?:\[[^\]]{0,80}\])?(\+?)=", re.DOTALL)
_DECLARES = frozenset({"export", "declare", "local", "readonly", "typeset"})
_OPENS = frozenset({"then", "do", "else", "elif"})
_SKIPPED = frozenset({"!", "{", "time", "coproc", "if", "while", "until", "then", "do", "else", "elif"})
_HEADS = frozenset({"for", "select", "case", "function"})
_ENDS = {"fi": ("if",), "done": ("loop",), "esac": ("case",), "}": ("function", "group")}
_READS = frozenset({"read", "mapfile", "readarray", "getopts", "unset"})
NESTED_BUDGET = 2 << 20
"""Characters of scripts inside scripts of one document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simple:
    """One simple command, expanded: its words, the variables before it, and what is fed to it or written by it."""

    words: tuple[Token, ...]
    line: int
    end_line: int
    env: dict[str, str] = field(default_factory=dict)
    env_lines: dict[str, int] = field(default_factory=dict)
    document: str | None = None
    """What its standard input is, where the text says that: a here-document."""
    document_line: int = 0
    writes: str = ""
    """The file that its standard output goes to."""
    appends: bool = False


@dataclass(slots=True)
class Script:
    """One or more texts that share their variables, read in order; `found` gets each command."""

    found: Callable[[Simple, "Script", int], None]
    scope: Scope = field(default_factory=Scope)
    notes: list[Note] = field(default_factory=list)
    counts: bool = True
    nested: int = 0
    _expander: Expander | None = None
    _piped: tuple[str, int] | None = None

    @property
    def expander(self) -> Expander:
        """Puts this script's variables into words."""
        if self._expander is None:
            self._expander = Expander(scope=self.scope)
        return self._expander

    def run(self, text: str, line: int, depth: int = 0, *, opaque: bool = False) -> None:
        """Follows a text that begins at a line; one inside another has that one's variables.

        `opaque` where the text was expanded before: what is still a variable in it the run knows, quotes or not.
        """
        self.nested += len(text) if depth else 0
        if depth > MAX_DEPTH or self.nested > NESTED_BUDGET:
            return
        lexer = Lexer(text=text, line=line, counts=self.counts, opaque=opaque)
        blocks = len(self.scope.blocks)
        _Reading(script=self, depth=depth, outer=blocks, opaque=opaque).follow(lexer.items())
        self.notes += lexer.notes
        while len(self.scope.blocks) > blocks:
            self.scope.close(self.scope.blocks[-1].kind)


@dataclass(slots=True)
class _Reading:
    """Where the reading of one text stands: the command that is being collected, and what it hangs on."""

    script: Script
    depth: int
    outer: int
    """How many blocks were open when the text began; those are not its own to close."""
    opaque: bool = False
    """Whether what stands in `$(…)` was run before."""
    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)
    perhaps: bool = False
    pattern: bool = False
    """Whether a `case` pattern is being read."""
    catches_all: bool = False
    last_line: int = 0

    def follow(self, items: Iterator[Item]) -> None:
        for item in items:
            if isinstance(item, Word):
                self._word(item)
            elif isinstance(item, Redirect):
                self.redirects.append(item)
            else:
                self._operator(item)
        self._end(ended_by="\n")

    def _word(self, word: Word) -> None:
        self.last_line = max(self.last_line, word.line)
        if self.pattern:
            if word.plain == "esac":
                self.pattern = False
                self._close("esac")
            self.catches_all |= word.plain == "*"
            return
        self.words.append(word)

    def _operator(self, operator: Operator) -> None:
        text, scope = operator.text, self.script.scope
        if self.pattern:
            if text == ")":
                self.pattern = False
                self._branch(exhaustive=self.catches_all)
                self.catches_all = False
            return
        if text == "(":
            self._parenthesis()
            return
        in_case = text == ")" and any(word.plain == "case" for word in self.words[:3])
        self._end(ended_by=text)
        if in_case:
            self.pattern = False
            self._branch()
        elif text == ")":
            self._close(")")
        elif text in (";;", ";&", ";;&"):
            scope.leave()
            self.pattern = bool(self._own and scope.blocks[-1].kind == "case")

    @property
    def _own(self) -> bool:
        return len(self.script.scope.blocks) > self.outer

    def _parenthesis(self) -> None:
        """`name ()` begins a function, anything else a subshell."""
        plain = [word.plain for word in self.words]
        if len(plain) == 1 and plain[0] and plain[0] not in _SKIPPED | _HEADS:
            self.words.clear()
            self.words.append(self._function_mark())
            return
        self._end(ended_by="(")
        if len(self.script.scope.blocks) < self.outer + 64:
            self.script.scope.open("subshell")
            self._branch()

    def _function_mark(self) -> Word:
        return Word(pieces=(), line=self.last_line)

    def _branch(self, *, exhaustive: bool = False) -> None:
        if self._own:
            self.script.scope.branch(exhaustive=exhaustive)

    def _close(self, word: str) -> None:
        if word == ")":
            if self.words and not self.words[0].pieces:
                return
            if self._own:
                self.script.scope.close("subshell")
        elif self._own:
            self.script.scope.close(*_ENDS[word])

    def _open(self, kind: str) -> None:
        if len(self.script.scope.blocks) < self.outer + 64:
            self.script.scope.open(kind)

    def _end(self, *, ended_by: str) -> None:
        """The command is complete: what it opens, assigns or runs is done."""
        words, redirects = self.words, self.redirects
        if words and not words[0].pieces and words[0].array is None:
            if ended_by in (")", "\n") and len(words) == 1:
                return  # between `name ()` and its `{`
            self._open("function")
            self._branch()
            words = words[1:]
            if words and words[0].plain == "{":
                words = words[1:]
        self.words, self.redirects = [], []
        if not words and not redirects:
            return
        words = self._keywords(words)
        if words or redirects:
            self._command(words, redirects, piped=ended_by in ("|", "|&"))
        self.perhaps = ended_by in ("&&", "||")

    def _keywords(self, words: list[Word]) -> list[Word]:
        """The words after those that begin or end a block."""
        for n, word in enumerate(words):
            plain = word.plain
            if plain in _ENDS:
                self._close(plain)
            elif plain in _HEADS:
                return self._head(plain, words[n + 1 :])
            elif plain not in _SKIPPED:
                return words[n:]
            else:
                self._keyword(plain)
        return []

    def _keyword(self, plain: str) -> None:
        if plain == "if":
            self._open("if")
        elif plain in ("while", "until"):
            self._open("loop")
        elif plain == "{":
            self._open("group")
        elif plain == "elif" and self._own:
            self.script.scope.leave()
        elif plain in _OPENS:
            self._branch(exhaustive=plain == "else")

    def _head(self, plain: str, rest: list[Word]) -> list[Word]:
        """What `for`, `case` and `function` begin with."""
        if plain == "function":
            self._open("function")
            self._branch()
            return rest[2:] if len(rest) > 1 and rest[1].plain == "{" else rest[1:]
        if plain == "case":
            self._open("case")
            self.pattern = self._own
            return []
        self._open("loop")
        name = rest[0].plain if rest else ""
        if name:
            values = self.script.expander.words(rest[2:]) if len(rest) == 3 else ()
            self.script.scope.put(name, values[0] if len(values) == 1 and values[0].known else None)
        return []

    def _command(self, words: list[Word], redirects: list[Redirect], *, piped: bool) -> None:
        script, line = self.script, words[0].line if words else redirects[0].line
        end_line = max((self.last_line, *(redirect.line for redirect in redirects)))
        assigned: dict[str, Token] = {}
        first = next((n for n, word in enumerate(words) if not _assigned(word)), len(words))
        for word in words[:first]:
            self._assign(word, assigned, only=first == len(words))
        words = words[first:]
        tokens = script.expander.words(words)
        runs, script.expander.runs = script.expander.runs, []
        for text, at in () if self.opaque else runs:
            script.run(text, at, self.depth + 1)
        if tokens and tokens[0].text in _DECLARES:
            self._declare(words, tokens)
            return
        if tokens and tokens[0].text in _READS:
            self._forget(tokens)
        stdin, script._piped = script._piped, None
        command = self._simple(tokens, (line, end_line), assigned, redirects)
        if stdin and command.document is None:
            command = _fed(command, stdin)
        if piped and tokens and tokens[0].text in ("cat", "echo", "printf") and command.document is not None:
            script._piped = (command.document, command.document_line)
            return
        if tokens or command.document is not None:
            script.found(command, script, self.depth)

    def _simple(
        self, tokens: tuple[Token, ...], lines: tuple[int, int], assigned: dict[str, Token], redirects: list[Redirect]
    ) -> Simple:
        document, document_line, writes, appends = None, 0, "", False
        for redirect in redirects:
            if redirect.operator == "<<":
                expander = self.script.expander
                document = expander.document(redirect.body) if redirect.expands else redirect.body
                document_line = redirect.body_line
            elif redirect.target is not None:
                target = self.script.expander.value(redirect.target.pieces, redirect.line).text
                if redirect.operator == "<<<":
                    document, document_line = target, redirect.line
                elif redirect.operator in (">", ">>", ">|", "&>", "&>>"):
                    writes, appends = target, redirect.operator == ">>"
        if document is None and tokens and tokens[0].text in ("echo", "printf"):
            said = [token.text for token in tokens[1:] if not re.fullmatch(r"-[neE]+", token.text)]
            document, document_line = " ".join(said).replace("\\n", "\n") + "\n", tokens[0].line
        return Simple(
            words=tokens,
            line=lines[0],
            end_line=lines[1],
            env={name: token.text for name, token in assigned.items() if token.known},
            env_lines={name: token.line for name, token in assigned.items()},
            document=document,
            document_line=document_line,
            writes=writes,
            appends=appends,
        )

    def _assign(self, word: Word, assigned: dict[str, Token], *, only: bool) -> None:
        """`NAME=value`, `NAME+=value` or `NAME=(…)`: of the script where it stands alone, else of the one command."""
        found = _assigned(word)
        if not found:
            return
        script, name = self.script, found[1]
        before = script.scope.get(name)
        if word.array is not None:
            items = script.expander.words(word.array)
            old = before if isinstance(before, tuple) else (before,) if isinstance(before, Token) else ()
            kept = found[2] == "" or script.expander.pay(8 * len(old))
            script.scope.put(name, ((*old, *items) if found[2] else items) if kept else None, perhaps=self.perhaps)
            return
        rest = word.pieces[0].text[found.end() :]
        first = [] if not rest else [_text(rest, word)]
        value = script.expander.value((*first, *word.pieces[1:]), word.line)
        if "[" in word.pieces[0].text[: found.end()]:
            script.scope.put(name, None)
            return
        if found[2] and isinstance(before, Token) and script.expander.pay(len(before.text)):
            sure = before.literal if not before.known else len(before.text) + value.literal if not value.known else -1
            value = Token(text=before.text + value.text, line=word.line, literal=sure)
        elif found[2]:
            script.scope.put(name, None)
            return
        if only:
            script.scope.put(name, value, perhaps=self.perhaps)
        else:
            assigned[name] = value

    def _declare(self, words: Sequence[Word], tokens: tuple[Token, ...]) -> None:
        for word in words[1:]:
            found = _assigned(word)
            if found:
                self._assign(word, {}, only=True)
            name = found[1] if found else word.plain
            if tokens[0].text == "export" and re.fullmatch(r"[A-Za-z_]\w*", name):
                self.script.scope.exported[name] = word.line

    def _forget(self, tokens: tuple[Token, ...]) -> None:
        for token in tokens[1:]:
            if re.fullmatch(r"[A-Za-z_]\w*", token.text):
                self.script.scope.put(token.text, None)
                if tokens[0].text == "unset":
                    self.script.scope.exported.pop(token.text, None)


def _text(text: str, word: Word) -> Piece:
    return Piece(kind="text", text=text, line=word.line)


def _assigned(word: Word) -> re.Match[str] | None:
    first = word.pieces[0] if word.pieces else None
    return _ASSIGNMENT.match(first.text) if first and first.kind == "text" and not first.quoted else None


def _fed(command: Simple, stdin: tuple[str, int]) -> Simple:
    return replace(command, document=stdin[0], document_line=stdin[1])
