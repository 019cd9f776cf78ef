"""A shell's text is read as the shell reads it, and where that is not what was meant, as it was meant, with a note."""

import pytest

from infra.flags.words import Token
from infra.lint.read import read


def words(text: str, name: str = "run.sh") -> list[list[str]]:
    """The words of each engine command; `!` marks those that only the run knows, `!!` those that may be several."""
    return [[marked(token) for token in launch.found.words] for launch in read(text, name).launches]


def marked(token: Token) -> str:
    return token.text + ("!!" if token.splits else "" if token.known else "!")


def serve(*rest: str) -> list[str]:
    return ["vllm", "serve", *rest]


WORDS: list[tuple[str, str, list[list[str]]]] = [
    ("one line", "vllm serve m --port 80", [serve("m", "--port", "80")]),
    ("quotes", """vllm serve 'a b' "c \\"d\\"" e\\ f""", [serve("a b", 'c "d"', "e f")]),
    ("C escapes", "vllm serve $'a\\tb\\'c'", [serve("a\tb'c")]),
    ("json", """vllm serve m --x '{"a": [1, 2]}'""", [serve("m", "--x", '{"a": [1, 2]}')]),
    ("json without quotes", """vllm serve m --x {"a":1,"b":2}""", [serve("m", "--x", "{a:1,b:2}")]),
    ("continuation", "vllm serve m \\\n  --a 1 \\\n  --b", [serve("m", "--a", "1", "--b")]),
    ("carriage returns", "vllm serve m \\\r\n  --a 1\r\n", [serve("m", "--a", "1")]),
    ("a word over two lines", "vllm serve m --max-\\\nmodel-len 1", [serve("m", "--max-model-len", "1")]),
    ("comment after", "vllm serve m # --x\n", [serve("m")]),
    ("hash in a word", "vllm serve m#x", [serve("m#x")]),
    ("assigned", "P=80\nvllm serve m --port $P", [serve("m", "--port", "80")]),
    ("assigned, braces", 'P=80\nvllm serve m --port "${P}1"', [serve("m", "--port", "801")]),
    ("assigned from assigned", "A=/m\nB=$A/x\nvllm serve $B", [serve("/m/x")]),
    ("not assigned", "vllm serve $M --port ${P}", [serve("$M!", "--port", "${P}!")]),
    ("half assigned", "A=/m/$USER/k\nvllm serve $A", [serve("/m/$USER/k!")]),
    ("default", "vllm serve m --port ${P:-80}", [serve("m", "--port", "80")]),
    ("default of a default", "vllm serve m --port ${P:-${Q:-81}}", [serve("m", "--port", "81")]),
    ("default set", ': "${P:=82}"\nvllm serve m --port $P', [serve("m", "--port", "82")]),
    ("default of an argument", "vllm serve ${1:-m}", [serve("m")]),
    ("alternative", "vllm serve m ${X:+--y $X}", [serve("m", "${X:+--y $X}!!")]),
    ("cut", "A=a/b\nvllm serve ${A##*/}", [serve("${A##*/}!")]),
    ("a command's output", "vllm serve m --host $(hostname -i) --a", [serve("m", "--host", "$(hostname -i)!", "--a")]),
    ("backticks", "vllm serve m --host `hostname`", [serve("m", "--host", "$(hostname)!")]),
    ("arithmetic", "vllm serve m --port $((8000 + 1))", [serve("m", "--port", "$((8000 + 1))!")]),
    ("all arguments", 'vllm serve m "$@" $*', [serve("m", "$@!!", "$*!!")]),
    ("arguments by name", "vllm serve m $EXTRA_ARGS --a", [serve("m", "$EXTRA_ARGS!!", "--a")]),
    ("several words", 'A="--a 1 --b"\nvllm serve m $A', [serve("m", "--a", "1", "--b")]),
    ("several words in quotes", 'A="--a 1"\nvllm serve m "$A"', [serve("m", "--a 1")]),
    ("added to", 'A="--a 1"\nA+=" --b"\nvllm serve m $A', [serve("m", "--a", "1", "--b")]),
    ("empty", 'A=""\nvllm serve m $A --b', [serve("m", "--b")]),
    ("array", 'A=(--a 1 # one\n  "-b$X" \\\n  --c)\nvllm serve m "${A[@]}"', [serve("m", "--a", "1", "-b$X!", "--c")]),
    ("array added to", 'A=(--a)\nA+=(--b)\nvllm serve m ${A[@]}', [serve("m", "--a", "--b")]),
    ("array not known", 'vllm serve m "${A[@]}"', [serve("m", "${A[@]}!!")]),
    ("array is the command", 'C=(vllm serve m)\nC+=(--a)\nexec "${C[@]}"', [serve("m", "--a")]),
    ("variable is the command", 'C="vllm serve $M --a 1"\n$C', [serve("$M!", "--a", "1")]),
    ("eval", 'C="vllm serve m"\neval "$C --a"', [serve("m", "--a")]),
    ("before the command", "A=1 B=2 vllm serve m", [serve("m")]),
    ("if", "if [ $X ]; then P=1; vllm serve m --p $P; fi", [serve("m", "--p", "1")]),
    ("after one branch", "P=1\nif x; then P=2; fi\nvllm serve m --p $P", [serve("m", "--p", "$P!")]),
    ("after equal branches", "if x; then P=2; else P=2; fi\nvllm serve m --p $P", [serve("m", "--p", "2")]),
    ("after other branches", "if x; then P=2; else P=3; fi\nvllm serve m --p $P", [serve("m", "--p", "$P!")]),
    ("array grows in a branch", 'A=(m)\nif x; then A+=(--b); fi\nvllm serve "${A[@]}"', [serve("m", "--b")]),
    ("and", "P=1\n[ $X ] && P=2\nvllm serve m --p $P", [serve("m", "--p", "$P!")]),
    ("for one", "for p in 5; do vllm serve m --p $p; done", [serve("m", "--p", "5")]),
    ("for several", "for p in 5 6; do vllm serve m --p $p; done", [serve("m", "--p", "$p!")]),
    ("arithmetic for", "for ((i=0; i<2; i++)); do vllm serve m --p $i; done", [serve("m", "--p", "$i!")]),
    ("while", "while read -r p; do vllm serve m --p $p; done < ports", [serve("m", "--p", "$p!")]),
    ("function", 'up() {\n  vllm serve "$1"\n}\nup m', [serve("$1!")]),
    ("function keyword", "function up {\n vllm serve m\n}", [serve("m")]),
    ("subshell", "(cd x && vllm serve m) &", [serve("m")]),
    ("subshell's variable", "(P=1)\nvllm serve m --p $P", [serve("m", "--p", "$P!")]),
    ("group", "{ vllm serve m; } > log 2>&1", [serve("m")]),
    ("redirected", "vllm serve m --a > log 2>&1 &", [serve("m", "--a")]),
    ("piped", "vllm serve m 2>&1 | tee x.log", [serve("m")]),
    ("case", "case $1 in\n--port) P=$2 ;;\nb|c) vllm serve m ;;\nesac\nvllm serve n", [serve("m"), serve("n")]),
    ("case on a line", "case $1 in a) vllm serve m;; esac", [serve("m")]),
    ("placeholder", "vllm serve <YOUR_MODEL> --a <H1>:8,<H2>:8", [serve("<YOUR_MODEL>!", "--a", "<H1>:8,<H2>:8!")]),
    ("synopsis", "vllm serve MODEL [OPTIONS] ...", [serve("MODEL", "[OPTIONS]!!", "...!!")]),
    ("braces", "vllm serve m --node-rank {0,1}", [serve("m", "--node-rank", "{0,1}!")]),
    ("here-document to a shell", "bash <<EOF\nvllm serve m\nEOF", [serve("m")]),
    ("here-document elsewhere", "ssh h bash -s <<'E'\nvllm serve m $X\nE", [serve("m", "$X!")]),
    ("here-document piped", "cat <<EOF | sh\nvllm serve m\nEOF", [serve("m")]),
    ("here-document to a file", "cat > x <<EOF\nvllm serve m\nEOF", []),
    ("an apostrophe above", "the checkpoint's own:\nvllm serve m --x '{\"a\": 1}'", [serve("m", "--x", '{"a": 1}')]),
    ("a plural's apostrophe", "the models' own:\nvllm serve m --x 'a b'", [serve("m", "--x", "a b")]),
    ("inches", "a 5\" disk:\nvllm serve m --x \"a b\"", [serve("m", "--x", "a b")]),
    ("a quote over lines", "vllm serve m --x='a\nb' --y", [serve("m", "--x=a\nb", "--y")]),
    ("a word that has quotes", "A=it'\n's\nvllm serve m -c'a\nb' $A", [serve("m", "-ca\nb", "it", "s")]),
    ("output of a command", "x=$(vllm serve m)", [serve("m")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in WORDS], ids=[case[0] for case in WORDS])
def test_words(text: str, expected: list[list[str]]) -> None:
    assert words(text) == expected


SLIPS: list[tuple[str, str, list[tuple[str, int]]]] = [
    ("a blank after the backslash", "vllm serve m \\ \n  --a 1", [("blank", 1)]),
    ("a comment after the backslash", "vllm serve m \\ # big\n  --a 1", [("remark", 1)]),
    ("a comment right after it", "vllm serve m \\# it's big\n  --a 1", [("remark", 1)]),
    ("a comment in an array", "A=(m \\ # big\n  --a 1\n)\nvllm serve ${A[@]} --a 1", [("remark", 1)]),
    ("two backslashes", "vllm serve m \\\\\n  --a 1", [("doubled", 1)]),
    ("no backslash", "vllm serve m \\\n  --a 1\n  --b 2", [("missing", 2)]),
    ("no backslash, an empty line", "vllm serve m \\\n\n  --b 2", [("missing", 2)]),
    ("a comment between", "vllm serve m \\\n  --a 1 \\\n  # why\n  --b 2", [("comment", 3)]),
    ("a comment with the backslash", "vllm serve m \\\n  --a 1 # why \\\n  --b 2", [("comment", 2)]),
    ("lost line ends", "vllm serve m \\ --a 1 \\ --b 2", [("blank", 1), ("blank", 1)]),
    ("typographic quotes", "vllm serve m --x \u201c{}\u201d --b 2", [("typographic", 1)]),
    ("text after an empty line", "vllm serve m --b 2\n\n--tp: more ranks\n", []),
    ("a comment at the end is none", "vllm serve m \\\n  --b 2\n  # --c 3\necho", []),
    ("a pattern is no option", "vllm serve m --b 2\ncase $1 in\n  --a) x;;\n  --c|-d) y;;\nesac", []),
    ("a new command is none", "vllm serve m --b 2\n\n# node 1\nvllm serve n", []),
]


@pytest.mark.parametrize("mark", ["^", "`"])
def test_lines_continued_as_on_windows(mark: str) -> None:
    document = read(f"docker run vllm/vllm-openai:v0.19.1 {mark}\n  --model m {mark}\n  --port 80\n", "-")
    assert document.notes == ()
    assert [token.text for token in document.launches[0].found.words][2:] == ["--model", "m", "--port", "80"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("cat > run.sh <<EOF\nvllm serve m --port 80\nEOF", 2),
        ("cat > run <<'EOF'\n#!/bin/bash\nvllm serve m --port 80\nEOF\nchmod +x run", 3),
        ("tee job.sbatch <<EOF\n#SBATCH -N 2\nvllm serve m --port 80\nEOF", 3),
        ("cat > p.yaml <<EOF\nkind: Pod\ncommand: [vllm, serve, m, --port, '80']\nEOF", 3),
    ],
)
def test_scripts_and_manifests_that_are_written(text: str, line: int) -> None:
    [launch] = read(text, "run.sh").launches
    assert (launch.line, [token.text for token in launch.found.words]) == (line, ["vllm", "serve", "m", "--port", "80"])


def test_an_ampersand_alone_in_its_line() -> None:
    document = read("vllm serve m \\\n  --a 1\n  &\nwait", "run.sh")
    assert [(note.kind, note.line) for note in document.notes] == [("ampersand", 2)]
    assert [token.text for token in document.launches[0].found.words][-2:] == ["--a", "1"]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in SLIPS], ids=[case[0] for case in SLIPS])
def test_slips(text: str, expected: list[tuple[str, int]]) -> None:
    document = read(text, "run.sh")
    assert [(note.kind, note.line) for note in document.notes] == expected
    if expected:
        assert [token.text for token in document.launches[0].found.words][-2:] == text.split()[-2:]


def test_a_quote_that_never_closes_ends_with_its_line() -> None:
    document = read("vllm serve m --x '{\nvllm serve n --b\n", "run.sh")
    assert [launch.line for launch in document.launches] == [1, 2]
    assert [note.kind for note in document.notes] == ["quote"]


def test_here_documents_are_files() -> None:
    text = "N=8\ncat > a.yml <<EOF\ntp: $N\nEOF\ntee b.yml <<'EOF' >/dev/null\nx: $N\nEOF\necho 'y: 1' >> b.yml\n"
    files = read(text, "run.sh").files
    assert {path: (file.text, file.line) for path, file in files.items() if path.endswith(".yml")} == {
        "a.yml": ("tp: 8\n", 3), "b.yml": ("x: $N\ny: 1\n", 6),
    }  # fmt: skip


def test_what_is_exported_is_the_commands_environment() -> None:
    text = "export A=1\nB=2\nexport C=$UNKNOWN\nD=4\nexport D\nE=5 env F=6 vllm serve m\n"
    assert dict(read(text, "run.sh").launches[0].env) == {"A": "1", "D": "4", "E": "5", "F": "6"}


def test_lines() -> None:
    text = '#!/bin/bash\n\nARGS=(\n  --a 1\n  --b\n)\nCUDA=1 \\\nvllm serve \\\n  m \\\n  "${ARGS[@]}"\n'
    launch = read(text, "run.sh").launches[0]
    assert (launch.start_line, launch.line, launch.end_line) == (7, 8, 10)
    assert [token.line for token in launch.found.words] == [8, 8, 9, 4, 4, 5]


def test_words_of_a_default_over_several_lines_stay_in_the_document() -> None:
    (launch,) = read("${X:-\nvllm serve m --port 1}", "-").launches
    assert [(token.text, token.line) for token in launch.found.words[1:]] == [
        ("serve", 2), ("m", 2), ("--port", 2), ("1", 2)
    ]  # fmt: skip
