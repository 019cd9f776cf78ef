"""What a document says: its engine commands, its other commands, the files it writes and the versions it pins."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.flags.words import Token
from infra.lint.words import Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What stands before a command, or is said of the place where it runs; None: nothing."""

    prefix: tuple[str, ...] = ()
    """All words before the command's own name, launchers with their options."""
    directives: Mapping[str, str] = field(default_factory=dict)
    """The options of the script's `#SBATCH` lines, long names without dashes."""
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    entry: bool = False
    """Whether it is an image's entry point, to which arguments are added."""
    gpus_per_node: int | None = None
    """GPUs of the pod."""
    published: bool = False
    """Whether the manifest opens a port to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An engine's command in a list of words: `table` is the parser it has, "" where there is no table of it."""

    engine: str
    table: str
    words: tuple[Token, ...]
    names: int
    """How many of the words are the command's own name."""
    program: str
    """`vllm serve`, `sglang.launch_server` …: which of an engine's commands it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """An engine's command at its place in the document."""

    found: Found
    line: int
    """Of the first word of its own name."""
    start_line: int
    end_line: int
    env: Mapping[str, str] = field(default_factory=dict)
    env_lines: Mapping[str, int] = field(default_factory=dict)
    """The lines of variables that are exported or stand before the command, known values or not."""
    around: Around = field(default_factory=Around)
    block: int = 0
    """Which of the document's scripts it stands in."""
    flat: bool = False
    """Whether the document has lost its line ends, so that prose may follow the last option."""
    partial: bool = False
    """Whether more words may come where it is used: an image's entry point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A command that starts no engine."""

    words: tuple[Token, ...]
    line: int
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file that the document writes."""

    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A version that the document asks for: `==` and images say exactly which, `operator` how where it is a bound."""

    package: str
    release: str
    line: int
    operator: str = "=="


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """All that was read of one text."""

    name: str
    launches: tuple[Launch, ...] = ()
    others: tuple[Other, ...] = ()
    files: Mapping[str, Written] = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()
    names_fork: bool = False
    """Whether its SGLang is KTransformers' fork."""
    names_ray: bool = False
    notes: tuple[Note, ...] = ()
    text: str = ""
    limits: tuple[str, ...] = ()
    """What was left unread, where the document is beyond a bound."""
