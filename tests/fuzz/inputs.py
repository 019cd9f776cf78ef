"""Inputs that nobody would write: pieces of scripts, manifests and stack files, put together at random."""

from hypothesis import strategies as st

NAMES = st.sampled_from(
    ["-", "run.sh", "README.md", "guide.rst", "pods.yaml", "Dockerfile", "vllm.service", "job.sbatch", "notes.txt", "x"]
)
_PIECES = st.sampled_from(
    [
        "vllm serve m", "vllm bench serve", "python -m sglang.launch_server --model-path m", "trtllm-serve m",
        "kt run x", "docker run --gpus all vllm/vllm-openai:v0.19.1", "hf download m", "huggingface-cli download m",
        "ray start", "--tensor-parallel-size", "--tp", "--swap-space 32", "--port=", "--max-model-len 64k",
        "--no-x", "--a.b.c 1", "--", "--speculative-config", "'{\"a\": [1, {\"b\": null}]}'", "{\"a\":1}",
        "--kt-method RAWINT4", "-tp", "-tp8", "-O3", "-O.x y", "--extra_llm_api_options x.yaml",
        "--compilation-config.level=3", "--hf-overrides '{'", "nan", "1e999", "-1", "''", "$X", "${X}", "${X:-",
        "${X:-1}", "${A[@]}", "$(", "`", "$((1+", "\"", "'", "\\", "\\\n", "\\ \n", "$'", "<<EOF", "<<-'E'", "EOF",
        "<HOST>:8", "<", ">", ">>", "2>&1", "&", "&&", "||", "|", ";", ";;", "(", ")", "{", "}", "((", "#", "# --x",
        "\n", "\n\n", "if", "then", "else", "elif", "fi", "for x in 1 2", "do", "done", "while", "case $1 in",
        "esac", "*)", "function f", "f()", "A=", "A=1", "A+=(", "A=(--a", "A=\"$A$A\"", "export A", "eval",
        "bash -c", "ssh h", "sbatch --wrap=", "cat >", "x.yaml", "echo", "```bash\n", "```\n", "~~~\n", "    ",
        "\t", "> ", "$ ", ".. code-block:: bash\n\n", "::\n\n", "#!/bin/bash\n", "#SBATCH --nodes=2\n",
        "FROM vllm/vllm-openai:v0.19.1\n", "RUN ", "CMD [", "ENTRYPOINT [\"vllm\", \"serve\"]\n", "ENV A=1\n",
        "[Service]\n", "ExecStart=", "Environment=", "%i", "apiVersion: v1\n", "kind: Pod\n", "services:\n",
        "containers:\n", "- args: [", "  command:\n", "  - ", "image: ", "---\n", "&a ", "*a", "{{ .x }}",
        "{{- if x }}\n", "|\n", ">\n", "]", "[", ": ", "? ", "!!python/name:os ", "pip install vllm==0.19.1\n",
        "vllm==0.10.0", "sglang==0.5.9", "vllm==99.0", "kvcache-ai/sglang", "\u201c", "\u201d", "\u2013tp",
        "\u3000", "\u0000", "\ufeff", "\r\n",
    ]
)  # fmt: skip
_HEADS = st.sampled_from(
    (
        "vllm serve m",
        "vllm bench serve --model m",
        "sglang serve --model-path m",
        "trtllm-serve m",
        "kt run m",
        "hf download m",
        "python -m sglang_router.launch_router",
        "python ktransformers/server/main.py",
        "python benchmark_moe.py",
    )
)
TEXTS = st.one_of(
    st.lists(st.tuples(_PIECES, st.sampled_from(["", " ", " ", "\n"])), max_size=40).map(
        lambda pairs: "".join(piece + end for piece, end in pairs)
    ),
    st.tuples(_HEADS, st.lists(_PIECES, max_size=25), st.sampled_from([" ", " \\\n  "])).map(
        lambda parts: parts[0] + parts[2] + parts[2].join(parts[1])
    ),
    st.text(max_size=300),
    st.tuples(_PIECES, st.integers(1, 400)).map(lambda pair: pair[0] * pair[1]),
)
"""Documents."""
_SLIPWAY_KEYS = ("fleet", "model", "engine", "launcher", "parallelism", "environment", "port", "roles", "secrets")
_OTHER_KEYS = ("name", "release", "args", "env", "config", "time", "tensor", "data", "secure", "fleet", "")
_KEYS = st.sampled_from((*(f"slipway:{key}" for key in _SLIPWAY_KEYS), *_OTHER_KEYS))
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["dgx-h200", "kimi-k2.5", "vllm", "sglang", "trtllm", "0.19.1", "slurm", "8000", "../x"]),
)  # fmt: skip
NESTED = st.recursive(
    _VALUES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.integers() | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=25,
)
"""Any parsed YAML."""
RIGHT: dict[str, object] = {
    "slipway:fleet": "dgx-h200",
    "slipway:model": "kimi-k2.5",
    "slipway:engine": {"name": "vllm", "release": "0.19.1", "args": {"max-model-len": 65536}},
    "slipway:launcher": {"name": "slurm", "time": "24:00:00"},
    "slipway:parallelism": {"tensor": 8},
    "slipway:environment": "vllm-0.19.1",
    "slipway:port": "8000",
}
STACKS = st.one_of(
    NESTED,
    st.tuples(st.dictionaries(_KEYS, NESTED, max_size=3), st.sets(st.sampled_from(sorted(RIGHT)), max_size=2)).map(
        lambda pair: {"config": {**{key: value for key, value in RIGHT.items() if key not in pair[1]}, **pair[0]}}
    ),
)
"""Parsed stack files, many of them nearly right."""
