"""What Pulumi needs in its environment: as lines of `.venv/bin/activate`, and as a mapping for tools.

The lines also set up completion of `invoke`, in fish by `activate.fish` (which sets nothing for Pulumi).
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from tools import pulumi_cli
from tools.places import VENV, state

ACTIVATE = VENV / "bin" / "activate"
FISH = VENV / "bin" / "activate.fish"
BEGIN = "# >>> slipway: what Pulumi needs (written by `make setup`) >>>"
END = "# <<< slipway <<<"
DEACTIVATE = "deactivate () {"

DEFAULT_PASSPHRASE = "slipway"  # no secret, it only lets Pulumi start: set PULUMI_CONFIG_PASSPHRASE to one of your own
STATE = "${SLIPWAY_STATE:-$HOME/.local/state/slipway}"
ALWAYS = {
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    "PULUMI_PARALLEL": "32",  # all stages of a stack are read at once, in one trip a host
}


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """`base` as it would be in an activated shell: for tools that call Pulumi and need not be run from one.

    A backend of the user's own keeps its Pulumi home too (its login is there); a passphrase of the user's own is kept.
    """
    cli = pulumi_cli.folder()
    ours = [str(VENV / "bin"), *([str(cli)] if cli else [])]
    others = [word for word in base.get("PATH", os.defpath).split(os.pathsep) if word not in ours]
    env = {**ALWAYS, **base, "VIRTUAL_ENV": str(VENV), "PATH": os.pathsep.join([*ours, *others])}
    if not env.get("PULUMI_BACKEND_URL"):
        env["PULUMI_BACKEND_URL"] = default_backend()
        env["PULUMI_HOME"] = env.get("PULUMI_HOME") or str(state() / "home")
    if not env.get("PULUMI_CONFIG_PASSPHRASE_FILE"):
        env.setdefault("PULUMI_CONFIG_PASSPHRASE", DEFAULT_PASSPHRASE)
    return env


def default_backend() -> str:
    """A folder of this user's, as Pulumi writes it."""
    return f"file://{state() / 'pulumi'}"


def make_folders() -> None:
    """Pulumi does not make the folder of its backend itself."""
    for folder in _folders():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def is_done() -> bool:
    if not ACTIVATE.exists() or not FISH.exists() or not all(folder.is_dir() for folder in _folders()):
        return False
    text = ACTIVATE.read_text()
    done = removal() in text and text.endswith(addition(pulumi_cli.folder()))
    return done and FISH.read_text().endswith(fish_addition())


def write() -> None:
    """Adds our lines to the scripts that `python -m venv` made, in place of those of an earlier run."""
    make_folders()
    text = without_ours(ACTIVATE.read_text())
    text = text.replace(DEACTIVATE, f"{DEACTIVATE}\n{removal()}", 1) + addition(pulumi_cli.folder())
    _replace(ACTIVATE, text)
    _replace(FISH, without_ours(FISH.read_text()) + fish_addition())


def _replace(file: Path, text: str) -> None:
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(text)
    draft.rename(file)


def addition(cli: Path | None) -> str:
    """The lines at the end; they set nothing that the user has set, and note what they set, for `deactivate`.

    `cli` is the folder of our own CLI, None where the user's is on PATH.
    """
    lines = [BEGIN]
    if cli:
        lines += [f'PATH="$VIRTUAL_ENV/bin":{shlex.quote(str(cli))}:"${{PATH#"$VIRTUAL_ENV/bin:"}}"', "export PATH"]
    home = _default("PULUMI_HOME", f'"{STATE}/home"')
    lines += [
        *(
            'if [ -z "${PULUMI_BACKEND_URL:-}" ] ; then',
            _set("PULUMI_BACKEND_URL", f'"file://{STATE}/pulumi"'),
            *home,
            "fi",
        ),
        'if [ -z "${PULUMI_CONFIG_PASSPHRASE+set}${PULUMI_CONFIG_PASSPHRASE_FILE:-}" ] ; then',
        *(_set("PULUMI_CONFIG_PASSPHRASE", shlex.quote(DEFAULT_PASSPHRASE)), "fi"),
    ]
    for name, value in ALWAYS.items():
        lines += _default(name, value)
    script = '"${VIRTUAL_ENV%/*}/tools/completion/invoke.bash"'
    lines += [
        f'if [ -n "${{BASH_VERSION:-}}" ] && [ -r {script} ] ; then . {script} ; fi',
        f'if [ -n "${{ZSH_VERSION:-}}" ] && [ -r {script} ] ; then',
        "    type compdef >/dev/null 2>&1 || { autoload -Uz compinit && compinit -i ; }",
        f"    autoload -Uz bashcompinit && bashcompinit && . {script}",
        "fi",
    ]
    return "\n".join([*lines, END, ""])


def fish_addition() -> str:
    """The lines at the end of `activate.fish`."""
    script = "(dirname $VIRTUAL_ENV)/tools/completion/invoke.fish"
    return "\n".join([BEGIN, f"if test -r {script}", f"    source {script}", "end", END, ""])


def removal() -> str:
    """The lines at the start of `deactivate`, which `activate` itself calls first."""
    names = ("PULUMI_BACKEND_URL", "PULUMI_HOME", "PULUMI_CONFIG_PASSPHRASE", *ALWAYS)
    lines = [f'    if [ -n "${{_SLIPWAY_{name}:-}}" ] ; then unset {name} _SLIPWAY_{name} ; fi' for name in names]
    return "\n".join([BEGIN, *lines, END])


def without_ours(text: str) -> str:
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        inside = inside or line.strip() == BEGIN
        if not inside:
            kept.append(line)
        inside = inside and line.strip() != END
    return "".join(kept)


def _default(name: str, value: str) -> list[str]:
    """Lines of shell that set a variable where the user has not."""
    return [f'if [ -z "${{{name}:-}}" ] ; then', _set(name, value), "fi"]


def _set(name: str, value: str) -> str:
    return f"    {name}={value} ; export {name} ; _SLIPWAY_{name}=set"


def _folders() -> tuple[Path, Path]:
    return state() / "pulumi", state() / "home"
