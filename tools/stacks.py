"""Makes every stack of `stacks/` exist in Pulumi's backend, leaving the stack files as they are in git.

Pulumi rewrites a stack file (`1.20` becomes `1.2`) to add an `encryptionsalt` for the passphrase, unless it has one. So
shipped files carry one for the default passphrase, and a file without one gets that line before Pulumi sees it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import activation
from tools.places import ROOT, STACKS
from tools.progress import SetupFailed, complain

SALT = "encryptionsalt:"


def names(folder: Path) -> list[str]:
    """The stacks that have a file: `Pulumi.<stack>.yaml`."""
    return sorted(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in folder.glob("Pulumi.*.yaml"))


def unready(env: Mapping[str, str], *, root: Path = ROOT, folder: Path = STACKS) -> list[str]:
    """The stacks whose file has no salt yet, or which are not in the backend."""
    wanted = names(folder)
    known = _known(env, root) if wanted else set()
    return [name for name in wanted if name not in known or not _is_salted(folder, name)]


def ensure(env: Mapping[str, str], *, root: Path = ROOT, folder: Path = STACKS) -> list[str]:
    """Makes ready those that are not, and says which; raises SetupFailed."""
    made = unready(env, root=root, folder=folder)
    known = _known(env, root) if made else set()
    for name in made:
        if not _is_salted(folder, name):
            file = folder / f"Pulumi.{name}.yaml"
            text = file.read_text()
            gap = "" if text.endswith("\n") else "\n"
            file.write_text(f"{text}{gap}{new_salt(env)}\n")
        if name not in known:
            _pulumi(["stack", "init", name, "--no-select"], env=env, cwd=root)
    return made


def selected_and_up(env: Mapping[str, str], *, root: Path = ROOT) -> tuple[str, tuple[str, ...]]:
    """The stack that is selected ("": none), and those with resources in the backend; raises SetupFailed."""
    listed = _listed(env, root)
    selected = next((str(stack["name"]) for stack in listed if stack.get("current")), "")
    return selected, tuple(str(stack["name"]) for stack in listed if stack.get("resourceCount"))


def _known(env: Mapping[str, str], root: Path) -> set[str]:
    return {str(stack["name"]) for stack in _listed(env, root)}


def _listed(env: Mapping[str, str], root: Path) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(_pulumi(["stack", "ls", "--json"], env=env, cwd=root))
    return listed


def _is_salted(folder: Path, name: str) -> bool:
    return any(line.startswith(SALT) for line in (folder / f"Pulumi.{name}.yaml").read_text().splitlines())


def new_salt(env: Mapping[str, str]) -> str:
    """A line for a stack file, made by Pulumi for this environment's passphrase in a project thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="slipway-salt-") as place:
        folder = Path(place)
        (folder / "Pulumi.yaml").write_text("name: salt\nruntime: python\n")
        (folder / "state").mkdir()
        local = {**env, "PULUMI_BACKEND_URL": f"file://{folder / 'state'}"}
        _pulumi(["stack", "init", "salt", "--no-select"], env=local, cwd=folder)
        lines = (folder / "Pulumi.salt.yaml").read_text().splitlines()
    return next(line for line in lines if line.startswith(SALT))


def _pulumi(arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> str:
    argv = ["pulumi", *arguments, "--non-interactive", "--color=never"]
    try:
        done = subprocess.run(argv, env=dict(env), cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    except FileNotFoundError:
        raise SetupFailed("stacks: there is no `pulumi` on PATH\n  what to do: make setup") from None
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr or done.stdout).strip()
    fix = "see Pulumi's message"
    if "passphrase" in said:
        fix = (
            f"the stack file's `{SALT}` was made with another passphrase than the one set now"
            " (PULUMI_CONFIG_PASSPHRASE or _FILE); unset yours to use the default one; or, to use yours, delete that"
            " line from the file and run this again: it gets a line that fits (commit it)"
        )
    raise SetupFailed(f"stacks: {' '.join(argv)}\n  {said}\n  what to do: {fix}")


def main() -> int:
    """`python -m tools.stacks`: for a stack file added after `make setup`."""
    try:
        activation.make_folders()
        made = ensure(activation.environment(os.environ))
    except SetupFailed as failure:
        complain(str(failure))
        return 1
    print(f"made ready: {', '.join(made)}" if made else f"nothing to do: {len(names(STACKS))} stacks are ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
