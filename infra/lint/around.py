"""What stands in front of a command or around its script: launchers' words, variables, images, `#SBATCH` lines."""

import re
from collections.abc import Sequence
from dataclasses import replace

from infra.flags.words import Token
from infra.lint.document import Around
from infra.lint.signature import base

_DOCKER_SWITCHES = re.compile(
    r"-[itdPq]{1,4}|--(?:rm|init|privileged|publish-all|read-only|tty|interactive|detach|oom-kill-disable|no-healthcheck"
    r"|quiet|sig-proxy|disable-content-trust|replace)"
)
CONTAINERS = frozenset({"docker", "podman", "nerdctl"})
_ENV = re.compile(r"[A-Za-z_]\w*=")
_ENV_BEFORE = frozenset({"env", "-e", "--env", "-x", "sudo", "="})
_ATTACHED = re.compile(r"-[eupvwh][^=-]")
_DIRECTIVE = re.compile(r"^[ \t]*#SBATCH[ \t]+(?P<options>[^\n#]*)", re.MULTILINE)
_SHORT = {
    "-N": "nodes",
    "-n": "ntasks",
    "-G": "gpus",
    "-w": "nodelist",
    "-c": "cpus-per-task",
    "-p": "partition",
    "-t": "time",
    "-A": "account",
    "-q": "qos",
    "-C": "constraint",
    "-x": "exclude",
}


def with_words(words: Sequence[Token], around: Around) -> Around:
    """What is known of a command's place, and what the words before it add to that."""
    env = dict(around.env)
    for at, token in enumerate(words):
        if token.known and _ENV.match(token.text) and _before(words, at) in _ENV_BEFORE:
            variable, _, value = token.text.partition("=")
            env[variable] = value
    image = image_of(words)[0] or around.image
    return replace(around, prefix=(*around.prefix, *(token.text for token in words)), env=env, image=image)


def directives(text: str) -> dict[str, str]:
    """The options of a script's `#SBATCH` lines, long names without dashes."""
    found: dict[str, str] = {}
    for line in _DIRECTIVE.finditer(text):
        words = line["options"].split()
        for at, word in enumerate(words):
            name, has_value, value = word.partition("=")
            if not has_value and at + 1 < len(words):
                value = words[at + 1]
            if word.startswith("--"):
                found[name[2:]] = value
            elif word[:2] in _SHORT:
                found[_SHORT[word[:2]]] = word[2:].lstrip("=") or value
    return found


def image_of(words: Sequence[Token]) -> tuple[str, str, tuple[Token, ...]]:
    """(image, entry point, arguments) of `docker run`; empty where there is none."""
    start = next((n for n, token in enumerate(words[:200]) if base(token) in CONTAINERS), None)
    if start is None:
        return "", "", ()
    at = start + 2 if start + 1 < len(words) and words[start + 1].text in ("run", "create") else 0
    entry = ""
    while 0 < at < len(words):
        text = words[at].text
        if words[at].splits:
            return _after_list(words, at)
        if not text.startswith("-"):
            return text, entry, tuple(words[at + 1 :])
        option, has_value, value = text.partition("=")
        if option == "--entrypoint":
            entry = value if has_value else words[at + 1].text if at + 1 < len(words) else ""
        at += 1 if has_value or _ATTACHED.match(text) or _DOCKER_SWITCHES.fullmatch(text) else 2
    return "", "", ()


def _after_list(words: Sequence[Token], at: int) -> tuple[str, str, tuple[Token, ...]]:
    """After `${DOCKER_ARGS}`: the next word that can be an image."""
    for n in range(at + 1, len(words)):
        if not words[n].text.startswith("-") and ("/" in words[n].text or ":" in words[n].text):
            return words[n].text, "", tuple(words[n + 1 :])
    return "", "", ()


def _before(words: Sequence[Token], at: int) -> str:
    if not at:
        return ""
    text = words[at - 1].text
    return "=" if _ENV.match(text) else text
