"""A tab after an option of `invoke` offers the stacks, fleets, engines and models that there are."""

import shutil
import subprocess
from pathlib import Path

import pytest
from invoke.parser.context import ParserContext

import tasks
from hosts import fleet
from infra import model, spec
from tools import activation
from tools.completion import candidates
from tools.many_words import parser_contexts
from tools.places import PYTHON, ROOT, VENV

CONTEXTS: dict[str, ParserContext] = {str(context.name): context for context in parser_contexts(tasks.ns)}
STACKS, FLEETS = spec.stacks(), fleet.names()

LINES: list[tuple[str, tuple[str, ...]]] = [
    ("invoke plan -s ", STACKS),
    ("invoke plan -s", STACKS),
    ("invoke plan --json -s la", STACKS),
    ("invoke logs --stack la", STACKS),
    ("invoke serve --model ", model.names()),
    ("inv bootstrap-cluster --fleet ", FLEETS),
    ("invoke bootstrap-cluster --fleet=", (*FLEETS, *(f"--fleet={name}" for name in FLEETS))),
    ("invoke bootstrap-cluster --fleet=la", (*FLEETS, *(f"--fleet={name}" for name in FLEETS))),
    ("invoke enroll --slurm ", ("ours", "existing", "none")),
    ("invoke plan -s lab status -s ", STACKS),
]


@pytest.mark.parametrize(("line", "values"), LINES)
def test_values(line: str, values: tuple[str, ...]) -> None:
    found = candidates(line, CONTEXTS)
    assert found is not None
    assert tuple(found) == values


@pytest.mark.parametrize(
    ("line", "has", "has_not"), [("serve", "torchspec", "kt-kernel"), ("lint", "kt-kernel", "torchspec")]
)
def test_engines_are_those_of_the_command(line: str, has: str, has_not: str) -> None:
    found = candidates(f"invoke {line} --engine ", CONTEXTS) or ()
    assert has in found
    assert has_not not in found


@pytest.mark.parametrize(
    "line",
    [
        "",
        "invoke",
        "invoke ",
        "invoke pl",
        "invoke plan ",
        "invoke plan -s lab ",
        "invoke plan --",
        "invoke plan --html ",
    ],
)
def test_the_rest_is_invokes_own(line: str) -> None:
    assert candidates(line, CONTEXTS) is None


def complete(line: str, folder: Path) -> list[str]:
    """What Bash offers at the end of a line, in a shell that has read the lines that `make setup` adds."""
    lines = folder / "activate"
    lines.write_text(activation.addition(None))
    word = line.rpartition(" ")[2].rpartition("=")[2]
    script = (
        f"VIRTUAL_ENV={VENV}; . {lines}\n"
        f"COMP_LINE='{line}'; COMP_POINT={len(line)}; _slipway_invoke invoke '{word}' x\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    env = {"PATH": f"{PYTHON.parent}:/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-euc", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("invoke plan -s dgx", ["dgx-h200"]),
        ("invoke bootstrap-cluster --fleet=lab-", ["lab-bare"]),
        ("invoke pla", ["plan"]),
        ("invoke plan --st", ["--stack"]),
    ],
)
def test_in_bash(line: str, offered: list[str], tmp_path: Path) -> None:
    assert complete(line, tmp_path) == offered


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_the_lines_are_read_by_every_shell(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    lines = tmp_path / "activate"
    lines.write_text(activation.addition(None))
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    argv = [shell, "-euc", f"VIRTUAL_ENV={VENV}; . {lines}; echo read"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("read\n", "")


def test_in_fish(tmp_path: Path) -> None:
    if not shutil.which("fish"):
        pytest.skip("no fish here")
    lines = tmp_path / "activate.fish"
    lines.write_text(activation.fish_addition())
    script = f"set -gx VIRTUAL_ENV {VENV}; source {lines}; complete -C 'invoke plan -s dgx'"
    env = {"PATH": f"{PYTHON.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["fish", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["dgx-h200"]
