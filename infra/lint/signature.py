"""Engine commands are told by their own words, wherever in a command line they stand."""

import re
from collections.abc import Sequence

from infra.flags.words import Token
from infra.lint.document import Found

MAX_WORDS = 600
"""How far into a command line an engine is looked for."""
MAX_IMAGE = 400
NOT_RUN = re.compile(
    r"echo|printf|[ef]?grep|rg|pgrep|pkill|killall|kill|man|info|which|whereis|type|apt|apt-get|dnf|yum|brew|pip3?|pipx|git"
    r"|cd|ls|cat|tee|sed|awk|curl|wget|less|more|head|tail|find|diff|vim?|nano|usage:?|Usage:|alias|unset|test|\[\[?|options:"
    r"|read|chmod|chown|cp|mv|rm|ln|mkdir|touch|export|set|source|\.|systemctl|journalctl"
)
"""Commands whose arguments name an engine's command without running it."""
_SELDOM = frozenset({"cat", "cd"})
"""Of these, commands whose line has lost what ended it where a whole launch follows."""
_MODULES = {
    "vllm.entrypoints.openai.api_server": ("vllm", "vllm"),
    "sglang.launch_server": ("sglang", "sglang"),
    "sglang_router.launch_router": ("sglang", "sglang-router"),
    "sglang.srt.disaggregation.launch_lb": ("sglang", ""),
    "sglang.srt.disaggregation.mini_lb": ("sglang", ""),
    "tensorrt_llm.commands.serve": ("trtllm", "trtllm"),
    "ktransformers.server.main": ("kt-kernel", "ktransformers"),
}
_SCRIPTS = (
    (
        re.compile(r"(?:.*/)?ktransformers/server/main\.py"),
        "ktransformers/server/main.py",
        "kt-kernel",
        "ktransformers",
    ),
    (re.compile(r"(?:.*/)?benchmark_moe\.py"), "benchmark_moe.py", "vllm", ""),
    (re.compile(r"(?:.*/)?sglang/launch_server\.py"), "sglang.launch_server", "sglang", "sglang"),
    (
        re.compile(r"(?:.*/)?vllm/entrypoints/openai/api_server\.py"),
        "vllm.entrypoints.openai.api_server",
        "vllm",
        "vllm",
    ),
)
_COMMANDS = {
    ("sglang", "serve"): ("sglang", "sglang"),
    ("kt", "run"): ("kt-kernel", "kt-kernel"),
    ("hf", "download"): ("", "huggingface-hub"),
    ("huggingface-cli", "download"): ("", "huggingface-hub"),
}
_PYTHON = re.compile(r"(?:pypy|python)[0-9.]*")
_TRTLLM_OTHERS = frozenset({"disaggregated", "disaggregated_mpi_worker", "mm_embedding_serve", "visual_gen"})
_IMAGE = re.compile(
    r"(?:[\w.$\{\}-]+(?::[0-9]+)?/)*(?P<name>[\w.-]*vllm-openai[\w.-]*)(?::(?P<tag>[\w.$\{\}-]+))?(?:@sha256:[0-9a-f]+)?"
)
_STRAY = re.compile(
    r"(?:is|are|was|the|an?|and|or|to|for|of|can|will|does|has|should|must|may|via|that|this|command|process|server)[,.:;]?",
    re.IGNORECASE,
)
_SHAPED = re.compile(
    r"vllm[ \t.]|vllm-openai|trtllm-serve|sglang|ktransformers|kt[ \t]+run|benchmark_moe|huggingface-cli"
    r"|hf[ \t]+download"
)


def base(token: Token) -> str:
    """The program's name in a word; "" where only the run knows it."""
    return (
        token.text.rpartition("/")[2]
        if token.known or ("/" in token.text[-40:] and "$" not in token.text.rpartition("/")[2])
        else ""
    )


def mentions(text: str) -> bool:
    """Whether a text may hold an engine's command; a quick look before it is read."""
    return bool(_SHAPED.search(text))


def find(words: Sequence[Token]) -> Found | None:
    """The first engine command in a command line."""
    first = base(words[0]) if words else ""
    if not words or (NOT_RUN.fullmatch(first) and first not in _SELDOM):
        return None
    for at in range(min(len(words), MAX_WORDS)):
        found = _at(words, at)
        if found:
            options = sum(token.text.startswith("--") for token in found.words)
            return None if _is_prose(found) or (first in _SELDOM and options < 3) else found
    return None


def implied(image: str, words: Sequence[Token]) -> Found | None:
    """The command that an image's own entry point makes of its arguments."""
    if not words or len(image) > MAX_IMAGE or not _IMAGE.fullmatch(image):
        return None
    first = words[0].text
    if not first.startswith("-") and (base(words[0]) in ("bash", "sh", "python", "python3") or " " in first):
        return None
    line = words[0].line
    head = (Token(text="vllm", line=line), Token(text="serve", line=line))
    return Found(engine="vllm", table="vllm", words=(*head, *words), names=2, program="vllm image")


def _at(words: Sequence[Token], at: int) -> Found | None:
    token = words[at]
    if not token.known and "/" not in token.text:
        return None
    name = base(token)
    following = words[at + 1].text if at + 1 < len(words) and words[at + 1].known else ""
    if token.text in ("-m", "-um"):
        return _module(words, at, following)
    if name.endswith(".py"):
        return _script(words, at)
    if name == "vllm":
        return _vllm(words, at, following)
    if name == "trtllm-serve" and following not in _TRTLLM_OTHERS:
        return _found(words, at, 2 if following == "serve" else 1, "trtllm-serve", ("trtllm", "trtllm"))
    known = _COMMANDS.get((name, following))
    return _found(words, at, 2, f"{name} {following}", known) if known else None


def _vllm(words: Sequence[Token], at: int, following: str) -> Found | None:
    if following == "serve":
        return _found(words, at, 2, "vllm serve", ("vllm", "vllm"))
    if following == "bench" and at + 2 < len(words) and words[at + 2].text == "serve":
        return _found(words, at, 3, "vllm bench serve", ("vllm", "vllm-bench-serve"))
    return None


def _module(words: Sequence[Token], at: int, module: str) -> Found | None:
    start = next((n for n in range(at - 1, max(at - 8, -1), -1) if _PYTHON.fullmatch(base(words[n]))), at)
    if module in ("vllm", "vllm.entrypoints.cli.main") and at + 2 < len(words):
        if words[at + 2].text == "serve":
            return _found(words, start, at + 3 - start, "vllm serve", ("vllm", "vllm"))
        return None
    if module in _MODULES:
        return _found(words, start, at + 2 - start, module, _MODULES[module])
    return None


def _script(words: Sequence[Token], at: int) -> Found | None:
    for pattern, program, engine, table in _SCRIPTS:
        if pattern.fullmatch(words[at].text):
            start = next((n for n in range(at - 1, max(at - 6, -1), -1) if _PYTHON.fullmatch(base(words[n]))), at)
            return _found(words, start, at + 1 - start, program, (engine, table))
    return None


def _found(words: Sequence[Token], start: int, names: int, program: str, of: tuple[str, str]) -> Found:
    return Found(engine=of[0], table=of[1], words=tuple(words[start:]), names=names, program=program)


def _is_prose(found: Found) -> bool:
    """Whether the words go on like a sentence; and help is asked for, not a server."""
    rest = [token.text for token in found.words[found.names :]]
    if any(text in ("--help", "-h") or text.startswith(("--help=", "[-")) for text in rest):
        return True
    options = [text for text in rest if text.startswith("-")]
    if rest and _STRAY.fullmatch(rest[0]) and not (options and rest[1] == options[0]):
        return True
    return not options and len(rest) > 3 and sum(text.isalpha() for text in rest) > 2
