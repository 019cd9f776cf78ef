"""Many probes or steps in one script, and its output back into one text each.

The script is one compound command: bash runs nothing of it before it has read all of it, so a script cut in transfer
runs nothing. Each frame is a subshell without standard input, so that no command swallows the rest of the script or
ends it. Frames start with byte 0x1e and a token of the script itself: banners before it and odd bytes inside it are no
frames, and whoever writes to what is read can't forge one, for each script has a random token. A line that starts
with byte 0x1f is progress, passed on while the script runs. Each script has the functions of `hosts.trust`.
"""

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex

from hosts import trust

MARK = "\x1e"
PROGRESS = "\x1f"
LOCKED, CHANGED, FAILED, REFUSED = 75, 76, 77, 78
"""Exit codes of an apply script that did nothing (locked, changed since plan, the lock's folder is not ours) or stopped
at a step."""

LOCK_PATIENCE_S = 20
"""How long an apply script waits for another run on its host before it says who is in the way."""

quote = shlex.quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What one subshell printed (both streams) and its exit status."""

    out: str
    status: int


def probe_script(probes: Sequence[str]) -> str:
    """A script of one frame a probe; frame n is the n-th probe. Never writes."""
    return _compound([_frame(str(n), f"( {probe}\n) </dev/null 2>&1") for n, probe in enumerate(probes)])


def apply_script(
    steps: Sequence[tuple[str, Sequence[str]]],
    *,
    checks: Sequence[tuple[str, str]],
    holder: str,
    lock_dir: str | None,
    secrets: Mapping[str, str],
) -> str:
    """A script that takes the host's lock, checks that nothing moved since the plan, and runs steps until one fails.

    `lock_dir` None takes no lock.
    `steps` are (frame name, shell commands) and `checks` (probe, what it printed when the plan was made). Secret values
    become shell variables (base64, not exported, so in no process's environment or argv) that the steps refer to.
    """
    lines = ["umask 022", *(_lock(lock_dir, holder) if lock_dir else ())]
    for name, value in secrets.items():
        lines.append(f"{secret_variable(name)}={quote(value)}")
    for n, (probe, before) in enumerate(checks):
        lines += [
            f"slipway_now=$( ( {probe}\n) </dev/null 2>&1 | sha256sum )",
            f'if [ "${{slipway_now%% *}}" != {_sha256(before)} ]; then',
            _frame("changed", f"printf '%s' {n}"),
            f"printf '{MARK}%s end\\n' \"$slipway_token\"; exit {CHANGED}; fi",
        ]
    for name, commands in steps:
        body = "\n".join(("set -euo pipefail", *commands))
        lines.append(_frame(name, f"( {body}\n) </dev/null 2>&1 9>&-"))
        lines.append(f"[ $slipway_status = 0 ] || {{ printf '{MARK}%s end\\n' \"$slipway_token\"; exit {FAILED}; }}")
    return _compound(lines)


def _lock(folder: str, holder: str) -> list[str]:
    """Takes the lock, or prints who has it and leaves; in a folder that nobody else can look into, let alone hold."""
    lock = quote(f"{folder}/slipway.lock")
    end = f"printf '{MARK}%s end\\n' \"$slipway_token\"; exit"
    return [
        f"if ! slipway_why=$( ( {trust.folder(folder)}; chmod 0700 {quote(folder)} ) 2>&1 ); then",
        _frame("refused", "printf '%s' \"$slipway_why\""),
        f"{end} {REFUSED}; fi",
        f"(umask 077; : >>{lock}); chmod 0600 {lock}; exec 9>>{lock}",
        f"if ! flock -w {LOCK_PATIENCE_S} 9; then",
        _frame("locked", f"cat {lock}"),
        f"{end} {LOCKED}; fi",
        f"printf '%s\\n' {quote(holder)} >{lock}",
    ]


def secret_variable(name: str) -> str:
    """The shell variable that holds the base64 of a secret inside an apply script."""
    return "SLIPWAY_SECRET_" + "".join(c if c.isalnum() else "_" for c in name).upper()


def _frame(name: str, command: str) -> str:
    return (
        f"printf '{MARK}%s {name}\\n' \"$slipway_token\"\n{command}\nslipway_status=$?\n"
        f"printf '\\n{MARK}%s {name}=%s\\n' \"$slipway_token\" $slipway_status"
    )


def _compound(lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    return (
        f"{{\nslipway_token={token_hex(8)}\nexport LC_ALL=C.UTF-8\n{trust.FUNCTIONS}{body}\n"
        f"printf '{MARK}%s end\\n' \"$slipway_token\"\nexit 0\n}}\n"
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def token_of(script: str) -> str:
    """The token that the frames of this script's output carry."""
    return script.split("slipway_token=", 1)[1].split("\n", 1)[0]


def parse_frames(script: str, stdout: str) -> tuple[dict[str, Frame], bool]:
    """Frames by name in order, and whether the last one arrived (False: the output is truncated)."""
    frames: dict[str, Frame] = {}
    complete = False
    opened: str | None = None
    body: list[str] = []
    for line in stdout.split(f"{MARK}{token_of(script)} ")[1:]:
        head, _, rest = line.partition("\n")
        if head == "end":
            complete = True
        elif "=" in head:
            name, _, status = head.partition("=")
            if name == opened and status.isdigit():
                frames[name] = Frame(out=_without_progress("".join(body).removesuffix("\n")), status=int(status))
            opened, body = None, []
        else:
            opened, body = head, [rest]
    return frames, complete


def _without_progress(text: str) -> str:
    if PROGRESS not in text:
        return text
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)  # as `hosts.remote` splits them: at nothing but line feeds
    return "".join(line for line in lines if not line.startswith(PROGRESS))
