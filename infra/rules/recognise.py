"""Which model of the catalogue a repository's name or a path means, where that is certain."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.model import Model

MODELS = Path(__file__).parents[1] / "models"
_REPO = re.compile(r"^repo:[ \t]*['\"]?([^'\"\s#]+)", re.MULTILINE)
_ALSO = re.compile(r"^also:[ \t]*\n((?:[ \t]+-.*\n)+)", re.MULTILINE)
_ITEM = re.compile(r"^[ \t]+-[ \t]*['\"]?([^'\"\s#]+)", re.MULTILINE)
FAMILIES = ("kimi-k2.5", "kimi-k2-thinking", "kimi-k2-instruct", "kimi-k2-base", "kimi-k2")
"""Beginnings of names, longest first: a quantised copy is of the family and is no model of the catalogue."""
MAKERS = frozenset(
    {
        "baidu",
        "deepseek-ai",
        "google",
        "ibm-granite",
        "meta-llama",
        "microsoft",
        "minimaxai",
        "mistralai",
        "openai",
        "qwen",
    }
    | {"stepfun-ai", "tencent", "thudm", "tiiuae", "zai-org"}
)
"""Whose repositories hold no Kimi model."""


@cache
def catalogue(folder: Path = MODELS) -> dict[str, str]:
    """The names of models by their repository and its last part, in lower case."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        repo, also = _REPO.search(text), _ALSO.search(text)
        for name in (*([repo[1]] if repo else ()), *(_ITEM.findall(also[1]) if also else ())):
            for one in (name.lower(), name.rpartition("/")[2].lower()):
                found.setdefault(one, path.stem)
    return found


@cache
def recognise(text: str) -> Model | None:
    """The model that `moonshotai/Kimi-K2.5` or `/models/kimi-k2.5` is; None where it can be another."""
    name = text.rstrip("/").lower()
    last = name.rpartition("/")[2]
    if "$" in last or "<" in last:
        return None
    is_repo = name.count("/") == 1 and not name.startswith((".", "~", "/", "$"))
    found = catalogue().get(name if is_repo else last)
    if not found:
        return None
    from hosts.errors import InputError  # noqa: PLC0415 - brings YAML, and is for recognised models alone
    from infra import model  # noqa: PLC0415

    try:
        return model.load(found)
    except InputError:
        return None


def family(text: str) -> str:
    """The family of a Kimi model by the last part of its name; "" where it is none or not certain."""
    last = text.rstrip("/").rpartition("/")[2].lower()
    return "" if "$" in last or "eagle" in last else next((name for name in FAMILIES if last.startswith(name)), "")


def is_another_makers(text: str) -> bool:
    """Whether it names a repository of somebody who makes other models."""
    maker, _, rest = text.lower().partition("/")
    return maker in MAKERS and bool(rest) and "kimi" not in rest
