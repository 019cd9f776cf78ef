"""Commands are held against the right engine's right release, and answers have their fixed shape."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hosts.errors import InputError
from infra.flags import table
from infra.lint.lint import lint
from infra.lint.read import MAX_CHARACTERS
from infra.lint.result import LintResult, rows

HERE = Path(__file__).parent / "documents"
KT = "--kt-weight-path w --kt-method RAWINT4"

ENGINES: list[tuple[str, str | None, list[str]]] = [
    ("vllm serve m", None, ["vllm"]),
    ("vllm bench serve --model m", None, ["vllm"]),
    ("trtllm-serve m", None, ["trtllm"]),
    ("kt run m", None, ["kt-kernel"]),
    ("python -m sglang.launch_server --model-path m", None, ["sglang"]),
    (f"python -m sglang.launch_server --model-path m {KT}", None, ["sglang"]),
    (f"python -m sglang.launch_server --model-path m {KT} --kt-gpu-prefill-token-threshold 4", None, ["sglang-kt"]),
    (f"pip install sglang-kt\npython -m sglang.launch_server --model-path m {KT}", None, ["sglang-kt"]),
    (f"git clone https://github.com/kvcache-ai/sglang\nsglang serve --model-path m {KT}", None, ["sglang-kt"]),
    (f"pip install sglang==0.5.9\nsglang serve --model-path m {KT} --kt-numa-nodes 1", None, ["sglang"]),
    ("python -m sglang.launch_server --model-path m", "sglang-kt", ["sglang-kt"]),
    ("sglang serve --model-path m --kt-numa-nodes 1", "sglang", ["sglang"]),
    ("vllm serve m\ntrtllm-serve m\nsglang serve --model-path m", None, ["vllm", "trtllm", "sglang"]),
    ("vllm serve m\ntrtllm-serve m\nsglang serve --model-path m", "trtllm", ["trtllm"]),
    ("hf download m", None, []),
]


@pytest.mark.parametrize(
    ("text", "engine", "expected"), ENGINES, ids=[f"{text} {engine}" for text, engine, _ in ENGINES]
)
def test_engines(text: str, engine: str | None, expected: list[str]) -> None:
    assert [command.engine for command in lint(text, "-", engine).commands] == expected


OLD = "pip install vllm==0.10.0"
NEWEST = table.newest("vllm")
RELEASES: list[tuple[str, str | None, str | None, list[str], int]] = [
    ("vllm serve m", None, None, [NEWEST], 0),
    ("vllm serve m", None, "0.19.1", ["0.19.1"], 0),
    ("vllm serve m", "vllm", "0.10.0", ["0.10.0"], 0),
    ("pip install vllm==0.19.1\nvllm serve m", None, None, ["0.19.1"], 0),
    ("pip install vllm==0.19.1\nvllm serve m", None, "0.10.0", ["0.10.0"], 0),
    (f"{OLD}\nvllm serve m\npip install vllm==0.19.1\nvllm serve n", None, None, ["0.10.0", "0.19.1"], 0),
    ("vllm serve m\npip install vllm==0.10.0", None, None, ["0.10.0"], 0),
    ("docker run vllm/vllm-openai:v0.19.1 m --port 80\npip install vllm==0.10.0", None, None, ["0.19.1"], 0),
    ("pip install 'vllm>=0.10'\nvllm serve m", None, None, [NEWEST], 0),
    ("pip install 'vllm<0.20'\nvllm serve m", None, None, ["0.19.1"], 0),
    ("pip install vllm~=0.19.0\nvllm serve m", None, None, ["0.19.1"], 0),
    ("pip install vllm==0.19.0\nvllm serve m", None, None, ["0.19.0"], 1),
    ("pip install vllm==0.11.2\nvllm serve m", None, None, ["0.11.2"], 1),
    ("pip install vllm==9.0\nvllm serve m\nvllm serve n", None, None, ["9.0", "9.0"], 1),
    ("vllm serve m\nsglang serve --model-path m", None, "0.5.9", [NEWEST, "0.5.9"], 0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "engine", "release", "expected", "warnings"), RELEASES)
def test_releases(text: str, engine: str | None, release: str | None, expected: list[str], warnings: int) -> None:
    result = lint(text, "-", engine, release)
    assert [command.release for command in result.commands] == expected
    assert [problem.rule for problem in result.problems].count("release") == warnings
    assert result.ok


def problems(result: LintResult, rule: str = "") -> list[tuple[str, str | None]]:
    return [(problem.where, problem.token) for problem in result.problems if rule in ("", problem.rule)]


BETWEEN: list[tuple[str, str, list[str]]] = [
    ("0.13.0", "--tensor-paralel-size 8", ["error"]),
    ("0.13.0", "--disable-log-requests", []),
    ("0.18.0", "--disable-log-requests", ["error"]),
    ("0.17.1", "--swap-space 1", []),
    ("0.18.1", "--swap-space 1", ["error"]),
    ("0.13.0", "--language-model-only", ["error"]),
    ("0.18.1", "--language-model-only", []),
    ("0.25.0", "--calculate-kv-scales", []),
    ("0.25.0", "--tensor-parallel-size many", ["error"]),
]


@pytest.mark.parametrize(("release", "option", "levels"), BETWEEN)
def test_between_two_tables_history_decides(release: str, option: str, levels: list[str]) -> None:
    result = lint(f"vllm serve m {option}", "-", "vllm", release)
    assert [problem.level for problem in result.problems if problem.rule == "flag"] == levels
    assert [problem.level for problem in result.problems if problem.rule == "release"] == ["warning"]


def test_beyond_the_newest_table_nothing_is_an_error() -> None:
    result = lint("pip install vllm==9.0\nvllm serve m --new-option\n", "-")
    assert [problem.level for problem in result.problems] == ["warning", "warning"]
    assert result.ok


WRONG = "vllm serve m \\\n  --tensor-parallel-size 8 \\ \n  --swap-space 32\n  --max-num-seqs 64\n"


def test_slips_are_told_at_their_lines_and_mended() -> None:
    result = lint(WRONG, "run.sh", "vllm", "0.19.1")
    assert problems(result) == [("line 2", None), ("line 3", None), ("line 3", "--swap-space")]
    assert result.commands[0].corrected == (
        "vllm", "serve", "m", "--tensor-parallel-size", "8", "--max-num-seqs", "64",
    )  # fmt: skip


MENDED: list[tuple[str, str, str | None]] = [
    ("vllm serve m \u2013port 80", "U+2013", "\u2013port"),
    ("vllm serve m \u2014max-num-seqs 8", "U+2014", "\u2014max-num-seqs"),
    ("vllm serve m --hf-overrides \u201c{}\u201d", "typographic", None),
    ('CMD ["vllm", "serve", "m", "--port 80"]', "in one word", "--port"),
    ("vllm serve m \\ --port 80", "a blank after the backslash", None),
    ("vllm serve m \\\n # x\n --port 80", "a comment inside", None),
]


@pytest.mark.parametrize(("text", "found", "token"), MENDED, ids=[case[0] for case in MENDED])
def test_mended(text: str, found: str, token: str | None) -> None:
    result = lint(text, "-")
    assert [(problem.rule, problem.token) for problem in result.problems] == [("shell", token)]
    assert found in result.problems[0].found
    corrected = result.commands[0].corrected
    assert corrected is not None
    assert corrected[-2] in ("--port", "--max-num-seqs", "--hf-overrides")


def test_comments_after_backslashes_are_one_problem_of_the_command() -> None:
    text = "vllm serve m \\ # big\n  --port 80 \\ # it's free\n  --max-num-seqs 8 \\# few\n  -tp 8\n"
    result = lint(text, "run.sh")
    assert problems(result) == [("line 1", None)]
    assert result.problems[0].fix == "move the comments of lines 1, 2 and 3 above the command"
    assert result.commands[0].corrected == (
        "vllm", "serve", "m", "--port", "80", "--max-num-seqs", "8", "-tp", "8",
    )  # fmt: skip


def test_what_only_the_run_knows_is_never_wrong() -> None:
    text = (
        'vllm serve "$M" --tensor-parallel-size $TP --port ${P} --max-model-len "$(len)" $EXTRA_ARGS --dtype $D "$@"\n'
    )
    assert lint(text, "-").problems == ()


def test_a_problem_of_several_commands_is_told_for_each_line() -> None:
    result = lint("vllm serve m --swap-space 1\nvllm serve n --swap-space 1\n", "-", None, "0.19.1")
    assert problems(result, "flag") == [("line 1", "--swap-space"), ("line 2", "--swap-space")]


def test_json_shape() -> None:
    answer = json.loads(json.dumps(lint(WRONG, "run.sh", "vllm", "0.19.1").to_json()))
    assert set(answer) == {"ok", "commands", "problems"}
    assert answer["ok"] is False
    assert set(answer["commands"][0]) == {"line", "engine", "release", "argv", "corrected"}
    assert set(answer["problems"][0]) == {"level", "rule", "where", "token", "found", "wanted", "why", "fix", "source"}


def test_text_fits_a_terminal() -> None:
    text = lint((HERE / "kimi-k25-flat.md").read_text(encoding="utf-8"), "docs/kimi-k25-flat.md").text()
    assert "kimi-k25-flat.md:1: error: --swap-space [flag]" in text
    assert "      --enable-ep-weight-filter \\\n" in text
    assert max(len(row) for row in text.split("\n") if not row.lstrip().startswith("--")) <= 100
    assert text.endswith(" errors, 1 warning\n")


QUOTED: list[tuple[tuple[str, ...], list[str]]] = [
    (("vllm", "serve", "m", "--port", "80"), ["    vllm serve m \\", "      --port 80"]),
    (("vllm", "serve", "$M", "--x", "a b"), ["    vllm serve $M \\", "      --x 'a b'"]),
    (("vllm", "serve", "/a b/${M}"), ['    vllm serve "/a b/${M}"']),
    (("vllm", "serve", '{"a": "$M"}'), ['    vllm serve "{\\"a\\": \\"$M\\"}"']),
    (("vllm", "serve", "--tp", "$@"), ["    vllm serve \\", "      --tp \"$@\""]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), QUOTED)
def test_rows_are_what_a_shell_reads_back(words: tuple[str, ...], expected: list[str]) -> None:
    assert rows(words) == expected


def test_too_long_a_document_is_refused() -> None:
    with pytest.raises(InputError, match="at most"):
        lint("x" * (MAX_CHARACTERS + 1), "-")


@pytest.mark.parametrize(("name", "release"), [("kimi-k25-flat.md", "0.19.1"), ("kimi-k2-guide.md", None)])
def test_what_is_corrected_is_right(name: str, release: str | None) -> None:
    result = lint((HERE / name).read_text(encoding="utf-8"), name, None, release)
    corrected = [command for command in result.commands if command.corrected is not None]
    assert len(corrected) > 1
    for command in corrected:
        again = lint("\n".join(rows(command.corrected or ())), "run.sh", command.engine, command.release)
        assert [problem.token for problem in again.problems if problem.level == "error"] == []
        assert again.commands[0].argv == command.corrected


FOUR = "export CUDA_VISIBLE_DEVICES=0,1,2,3\n"
EIGHT = "vllm serve m --tensor-parallel-size 8\n"
DEVICES: list[tuple[str, list[tuple[str, str | None]]]] = [
    (f"```bash\n{FOUR}{EIGHT}```\n", [("line 3", "--tensor-parallel-size")]),
    (f"```bash\n{FOUR}```\nOn the other:\n```bash\n{EIGHT}```\n", []),
]


@pytest.mark.parametrize(("text", "expected"), DEVICES)
def test_the_visible_gpus_are_those_of_one_block(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert problems(lint(text, "x.md"), "world-size") == expected


EXPORTED = "export VLLM_USE_DEEP_GEM=1"
VARIABLES: list[tuple[str, list[tuple[str, str | None]]]] = [
    (f"{EXPORTED}\nvllm serve m\n", [("line 1", "VLLM_USE_DEEP_GEM")]),
    ("export VLLM_USE_DEEP_GEM=$(f)\nvllm serve m\n", [("line 1", "VLLM_USE_DEEP_GEM")]),
    (f"{EXPORTED}\nunset VLLM_USE_DEEP_GEM\nvllm serve m\n", []),
    (f"{EXPORTED}\nvllm serve m\nvllm serve n\n", [("line 1", "VLLM_USE_DEEP_GEM")]),
    ("\nVLLM_USE_DEEP_GEM=1 vllm serve m\n", [("line 2", "VLLM_USE_DEEP_GEM")]),
    ("docker run -e VLLM_USE_DEEP_GEM=1 vllm/vllm-openai m\n", [("line 1", "VLLM_USE_DEEP_GEM")]),
    ("export VLLM_USE_DEEP_GEMM=1 MINE=2\nvllm serve m\n", []),
    (f"{EXPORTED}\npython -m sglang.launch_server --model-path m\n", []),
]


@pytest.mark.parametrize(("text", "expected"), VARIABLES)
def test_variables_that_no_engine_reads_are_told_where_they_are_given(
    text: str, expected: list[tuple[str, str | None]]
) -> None:
    assert problems(lint(text, "run.sh"), "environment-variable") == expected


CONFIG = "cat > c.yaml <<EOF\nport: 8000\nswap-space: 4\neplb-config:\n  windw_size: 1\nEOF\n"
WRITTEN: list[tuple[str, str, list[tuple[str, str | None]]]] = [
    ("vllm", "vllm serve m --config c.yaml", [("line 3", "swap-space"), ("line 4", "eplb-config")]),
    ("vllm", "vllm serve m --config other.yaml", []),
    ("vllm", "vllm serve m", []),
    ("sglang", "python -m sglang.launch_server --config c.yaml", [("line 3", "swap-space"), ("line 4", "eplb-config")]),
]


FILES: list[tuple[str, str, list[str]]] = [
    ("tensor-parallel-size: 8\ntrust-remote-code: true\n", "c.yaml", []),
    ("tensor-parallel-size: 8\n", "c.yaml", ["trust-remote-code"]),
    ("trust-remote-code: true\ntensor-parallel-size: 16\n", "c.yaml", ["world-size"]),
    ("tensor-parallel-size: 16\n", "other.yaml", []),
]


@pytest.mark.parametrize(("text", "file", "rules"), FILES)
def test_rules_know_the_options_of_the_file(text: str, file: str, rules: list[str]) -> None:
    script = f"cat > c.yaml <<EOF\n{text}EOF\nvllm serve moonshotai/Kimi-K2.5 --config {file}\n"
    assert [problem.rule for problem in lint(script, "run.sh", None, "0.19.1").problems] == rules


@pytest.mark.parametrize(("engine", "command", "expected"), WRITTEN)
def test_the_file_of_config_is_held_as_options(
    engine: str, command: str, expected: list[tuple[str, str | None]]
) -> None:
    assert problems(lint(f"{CONFIG}{command}\n", "run.sh", engine), "config") == expected


def test_yaml_is_not_loaded_before_a_document_has_some() -> None:
    script = (
        "import sys; from infra.lint.lint import lint; lint('vllm serve m', 'run.sh'); print('yaml' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )
