"""A command quotes itself so that a real shell reads back the very words."""

import subprocess

import pytest

from infra.command import Command, Var, at_port, quote, times

ODD = ["plain", "two words", "it's", '{"a": "b c"}', "$HOME", "`id`", "", "a\\b", "ünï", "*", "--x=1", "#", "a;b", "~"]


def test_a_shell_reads_the_words_back() -> None:
    line = Command(argv=("printf", "%s\\n", *ODD), env={"ODD": "it's $HOME"}).line()
    assert (
        subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.split("\n")[:-1] == ODD
    )


def test_a_variable_is_read_where_the_command_runs() -> None:
    command = Command(argv=("printf", "%s", Var("RANK")), env={"A": Var("RANK")})
    script = f"RANK='1 2'; {command.lines()}; {'; '.join(command.assignments())}; printf '/%s' \"$A\""
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout == "1 2/1 2"


def test_an_option_and_its_values_share_a_line() -> None:
    command = Command(argv=("vllm", "serve", "/m", "--port", "1", "--names", "a", "b c", "--flag"))
    assert command.lines("  ") == "vllm serve /m \\\n  --port 1 \\\n  --names a 'b c' \\\n  --flag"


def test_a_setting_has_a_line_of_its_own() -> None:
    command = Command(argv=("podman", "--ulimit", "memlock=-1:-1", "python", "--config", "a.yaml", "b.c=1", "d=2"))
    assert command.lines("") == "podman \\\n--ulimit memlock=-1:-1 python \\\n--config a.yaml \\\nb.c=1 \\\nd=2"


def test_secrets_stand_in_no_line() -> None:
    command = Command(argv=("vllm",), secrets={"VLLM_API_KEY": "api-key"})
    assert "KEY" not in command.line() + command.lines()


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (Var("A"), '"${A}"'),
        ("a", "a"),
        ("a b", "'a b'"),
        (at_port(Var("HEAD"), 5757), '"${HEAD}:5757"'),
        (at_port("dgx1", 5757), "dgx1:5757"),
        (times(Var("N"), 8), '"$((N * 8))"'),
        (times("3", 8), "24"),
    ],
)
def test_quote(word: str | Var, text: str) -> None:
    assert quote(word) == text


def test_a_shell_does_the_arithmetic() -> None:
    command = Command(argv=("printf", "%s %s", times(Var("N"), 8), at_port(Var("HEAD"), 80)))
    script = f"N=3 HEAD=dgx1; {command.line()}"
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout == "24 dgx1:80"
