"""The plan as text and as the fixed JSON; made without a network, of stacks that are right and of some that are not."""

import json
import shlex
import subprocess
from dataclasses import replace

import pytest

from hosts.errors import InputError
from hosts.fleet import Limits
from hosts.problem import Problem
from hosts.schema import load_yaml
from infra import shown, spec, view
from infra.bars import Part, shows, waterfall
from infra.deployment import Parallelism
from infra.engines import ENGINES
from infra.folding import launches, names
from infra.launchers import LAUNCHERS
from infra.placement import place
from infra.reading import Reading
from infra.typed_lines import rows
from tests.unit.stacks import shipped

KEYS = {
    "stack", "fleet", "engine", "release", "launcher", "ranks", "command", "stages", "ledger", "problems",
}  # fmt: skip
STACKS = spec.stacks()


def changed(base: str, **values: object) -> Reading:
    """A stack of this repository with other values, each by its path below `config` with `__` for a dot."""
    data = load_yaml(spec.STACKS / f"Pulumi.{base}.yaml")
    assert isinstance(data, dict)
    for path, value in values.items():
        first, *rest = path.replace("-", "_").split("__")
        place, key = data["config"], f"slipway:{first}"
        for name in rest:
            place, key = place.setdefault(key, {}), name.replace("_", "-")
        place[key] = value
    return spec.examine("broken", data, "Pulumi.broken.yaml")


BROKEN = {
    "too large": lambda: changed("dgx-h200", fleet="h100-80"),
    "too long": lambda: changed("h100-k2-vllm-tp16", engine__args__max_model_len=131072),
    "refused options": lambda: changed("dgx-h200", engine__args__swap_space=16, engine__args__max_modl_len=4096),
    "too many GPUs": lambda: changed("dgx-h200", parallelism__tensor=32),
    "another launcher": lambda: changed("dgx-h200", launcher__name="mpirun"),
    "roles under slurm": lambda: changed("k2-sglang-pd-4p12d", launcher__name="slurm", launcher__time="24:00:00"),
    "no whole heads": lambda: changed("dgx-h200", parallelism__tensor=6),
    "no GGUF": lambda: changed("k2-ktransformers-legacy", parallelism__tensor=2),
}


@pytest.mark.parametrize("stack", STACKS)
def test_the_fixed_shape(stack: str) -> None:
    plan = json.loads(json.dumps(view.plan_json(spec.read(stack))))
    assert set(plan) >= KEYS
    for rank in plan["ranks"]:
        assert set(rank) >= {"rank", "host", "gpus", "role", "env", "argv"}
        assert all(isinstance(word, str) for word in rank["argv"])
        assert all(isinstance(value, str) for value in rank["env"].values())
    assert [rank["rank"] for rank in plan["ranks"]] == list(range(len(plan["ranks"])))
    if plan["ledger"] is not None:
        assert set(plan["ledger"]["gpu"]) >= {
            "total_gib", "usable_gib", "weights_gib", "activations_gib", "other_gib", "kv_gib", "kv_tokens",
        }  # fmt: skip
        assert set(plan["ledger"]["host"]) >= {"ram_gib", "shm_gib", "disk_gib"}
    names_of_stages = [stage["name"] for stage in plan["stages"]]
    assert names_of_stages[0] == "claim"
    if LAUNCHERS[plan["launcher"]].built:
        assert names_of_stages[-2:] == ["launch", "ready"]
        assert plan["stages"][-1]["hosts"] == {"login": [f"endpoint:{stack}"]}
    else:
        assert names_of_stages[-1] == "launch"
        assert plan["stages"][-1]["hosts"] == {"login": ["requirement:launcher"]}


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("stack", STACKS)
def test_text_fits_a_screen_of_100_columns(stack: str, ascii_only: bool) -> None:
    text = view.plan_text(spec.read(stack), ascii_only=ascii_only)
    assert [line for line in text.splitlines() if len(line) > view.WIDTH] == []
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert text.startswith(f"{stack}: ")
    assert text.isascii() or not ascii_only


def test_a_deployment_can_be_shown_as_well_as_a_reading() -> None:
    assert view.plan_text(spec.load("dgx-h200")) == view.plan_text(spec.read("dgx-h200"))
    assert view.plan_json(spec.load("k2-vllm-tp16")) == view.plan_json(spec.read("k2-vllm-tp16"))


@pytest.mark.parametrize("case", BROKEN)
def test_a_plan_with_errors_shows_what_is_known(case: str) -> None:
    it = BROKEN[case]()
    assert it.errors
    plan = json.loads(json.dumps(view.plan_json(it)))
    assert set(plan) >= KEYS
    assert plan["problems"][0]["level"] == "error"
    text = view.plan_text(it)
    assert [line for line in text.splitlines() if len(line) > view.WIDTH] == []
    lines = text.splitlines()
    assert lines[2].startswith("error: ")
    assert any(line.startswith("refused: ") for line in lines)


def test_load_refuses_what_read_shows() -> None:
    data = load_yaml(spec.STACKS / "Pulumi.dgx-h200.yaml")
    assert isinstance(data, dict)
    data["config"]["slipway:fleet"] = "h100-80"
    with pytest.raises(InputError) as caught:
        spec.parse("broken", data, "Pulumi.broken.yaml")
    assert caught.value.problems == spec.examine("broken", data, "Pulumi.broken.yaml").problems


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    it = BROKEN["too long"]()
    (error,) = it.errors
    assert (error.where, error.rule) == ("$.engine.args.max-model-len", "gpu-memory")
    assert error.fix == f"{it.changes[''][0].text} ({it.changes[''][0].cost})"
    text = view.plan_text(it)
    assert f"does not fit: {it.fits[''].missing_gib:.1f} GiB a GPU are missing" in text
    for change in it.changes[""]:
        assert change.settings[0] in text
    shorter = next(change for change in it.changes[""] if change.cost == "shorter requests")
    (setting,) = shorter.settings
    name, _, value = setting.partition(": ")
    assert name == "engine.args.max-model-len"
    assert not changed("h100-k2-vllm-tp16", engine__args__max_model_len=int(value)).errors


def test_more_nodes_than_there_are_is_said() -> None:
    costs = [change.cost for change in BROKEN["too long"]().changes[""] if "nodes" in change.settings[0]]
    assert costs == ["more nodes, as pipeline stages; this fleet has 2"]


def test_refused_options_are_left_out_and_said() -> None:
    it = BROKEN["refused options"]()
    assert it.left_out == ("swap-space", "max-modl-len")
    assert (it.proven, it.fits) == (False, {})
    plan = json.loads(json.dumps(view.plan_json(it)))
    assert "--swap-space" not in plan["command"]
    assert plan["ledger"] is None
    assert "left out, since the release refuses them: swap-space, max-modl-len" in view.plan_text(it)
    assert "not computed until the options are right" in view.plan_text(it)


def test_what_can_not_be_placed_has_no_ranks() -> None:
    it = BROKEN["too many GPUs"]()
    plan = json.loads(json.dumps(view.plan_json(it)))
    assert (plan["ranks"], plan["command"], plan["stages"], plan["cost"]) == ([], "", [], "")


def test_the_line_to_type_is_the_rank_less_what_slipway_adds() -> None:
    d = shipped("lab")
    line = view.by_hand(d)
    assert line.split(" vllm serve ")[0].split() == [f"{name}={value}" for name, value in sorted(d.env.items())]
    printed = subprocess.run(
        ["bash", "-c", f"vllm() {{ printf '%s\\n' vllm \"$@\"; }}; {line}"], capture_output=True, text=True, check=True
    )
    argv = json.loads(json.dumps(view.plan_json(d)))["ranks"][0]["argv"]
    at = argv.index("--uds")
    assert printed.stdout.splitlines() == [*argv[:at], "--host", "0.0.0.0", "--port", "8000", *argv[at + 2 :]]  # noqa: S104


@pytest.mark.parametrize(
    ("stack", "begins"),
    [("k2-trtllm-tp16", "mpirun -np 16"), ("k2-vllm-tp16-ray", "RAY_ADDRESS="), ("dgx-h200", "vllm serve ")],
)
def test_the_command_is_what_starts_the_engine(stack: str, begins: str) -> None:
    assert view.by_hand(spec.read(stack)).startswith(begins)


@pytest.mark.parametrize("stack", STACKS)
def test_the_rows_of_a_line_are_the_line(stack: str) -> None:
    """A shell reads the rows that are shown, pasted, as the very line."""
    d = spec.load(stack)
    placed, engine = place(d), ENGINES[d.engine]
    lines = [line for _, line in LAUNCHERS[d.launcher.name].by_hand(d, placed, engine)]
    lines = [lines[0], lines[-1]]
    for width in (100, 60):
        pasted = ["\n".join(rows(line, width)) for line in lines]
        assert max(len(row) for text in pasted for row in text.splitlines()) <= width
        script = "\n".join(f"printf '%s\\0' {text.strip()}\necho" for text in (*lines, *pasted))
        found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
        assert found[: len(lines)] == found[len(lines) :]


LONG = [
    "a " + shlex.quote("x" * 300),
    "a --option " + shlex.quote(json.dumps({"key": 'it\'s a "word" with $HOME and \\ in it ' * 6})),
    "a --option=" + "y/" * 150,
    'a --option "${A}' + "z" * 200 + '"',
    "A=" + "b" * 250 + " a",
]


@pytest.mark.parametrize("line", LONG)
def test_a_word_that_is_too_long_goes_on_in_the_first_column(line: str) -> None:
    text = "\n".join(rows(line, 60))
    assert max(map(len, text.splitlines())) <= 60
    script = "\n".join(f"A=a; printf '%s\\0' {it.strip()}\necho" for it in (line, text))
    first, second = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert first == second


def test_no_secret_is_shown() -> None:
    plan = json.loads(json.dumps(view.plan_json(shipped("dgx-h200"))))
    assert "VLLM_API_KEY" not in plan["ranks"][0]["env"]
    assert "VLLM_API_KEY" not in plan["command"]
    assert "the secret api-key, which is read on the host" in view.plan_text(shipped("dgx-h200"))


def test_hosts_of_ranks() -> None:
    d = shipped("dgx-h200")
    assert json.loads(json.dumps(view.plan_json(d)))["ranks"][0]["host"] == "any of dgx1, dgx2"
    two = json.loads(json.dumps(view.plan_json(replace(d, parallelism=Parallelism(tensor=16)))))
    assert [(rank["host"], rank["role"], rank["gpus"]) for rank in two["ranks"]] == [
        ("dgx1", "head", list(range(8))),
        ("dgx2", "follower", list(range(8))),
    ]


@pytest.mark.parametrize(
    ("stack", "table"),
    [
        ("dgx-h200", [("0", "head", "any of dgx1, dgx2", "0-7")]),
        (
            "k2-sglang-pd-4p12d",
            [
                ("0", "prefill, head", "dgx01", "0-7"),
                ("1-3", "prefill, follower", "dgx02, dgx03, dgx04", "0-7"),
                ("4", "decode, head", "dgx05", "0-7"),
                ("5-15", "decode, follower", "dgx06 to dgx16 (11 hosts)", "0-7"),
            ],
        ),
        (
            "k2-trtllm-tp16",
            [
                ("0", "head", "dgx1", "0"),
                ("1-7", "followers", "dgx1", "1-7, one each"),
                ("8-15", "followers", "dgx2", "0-7, one each"),
            ],
        ),
        ("k2-ktransformers-legacy", [("0", "head", "kt1", "0")]),
    ],
)
def test_ranks_that_are_alike_are_one_row(stack: str, table: list[tuple[str, str, str, str]]) -> None:
    assert [(row.ranks, row.role, row.hosts, row.gpus) for row in shown.ranks(spec.read(stack))] == table


def test_lines_that_are_alike_are_told_once() -> None:
    lines = [(f"n{n}", f"A=1 run --node-rank {n} --host h{n} --fast") for n in range(4)] + [("n0", "route --port 1")]
    first, router = launches(lines)
    assert first.same == ("n1, n2, n3: the same with --node-rank 1 to 3, --host h1 to h3",)
    assert (router.where, router.same) == ("n0", ())
    assert len(list(launches([("a", "run x"), ("b", "run y")]))) == 2  # no option's value: not the same


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        (["a"], "a"),
        (["a", "b"], "a, b"),
        ([f"n{n}" for n in range(1, 7)], "n1 to n6 (6 hosts)"),
        (["a", "b", "c", "d", "x"], "a, b and 3 more to x"),
    ],
)
def test_names_of_hosts(hosts: list[str], text: str) -> None:
    assert names(hosts) == text


@pytest.mark.parametrize(
    ("encoding", "wanted"), [("utf-8", True), ("UTF-8", True), ("ascii", False), ("latin-1", False), (None, False)]
)
def test_what_a_terminal_shows(encoding: str | None, wanted: bool) -> None:
    assert shows(encoding) is wanted


def test_names_do_not_command_the_terminal() -> None:
    it = view.reading(spec.load("dgx-h200"))
    text = view.plan_text(replace(it, problems=(Problem(where="$.\x1b[31m", found="\x07a", wanted="b"),)))
    assert r"error: $.\x1b[31m" in text
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_bars_begin_where_the_one_before_ended() -> None:
    parts = [
        Part(name="weights", gib=50, kind="weights"),
        Part(name="experts", gib=40, kind="weights", inner=True),
        Part(name="small", gib=0.01, kind="work"),
        Part(name="cache", gib=25, kind="cache"),
        Part(name="free", gib=24.99, kind="free"),
    ]
    assert list(waterfall(parts, 100, width=9 + 4 + 4 + 40, ascii_only=True)) == [
        "weights    50.0  " + "#" * 20,
        "  experts  40.0  " + "#" * 16,
        "small       0.0  " + " " * 20 + "=",
        "cache      25.0  " + " " * 20 + "+" * 10,
        "free       25.0  " + " " * 30 + "." * 10,
    ]


def test_a_warning_is_in_both() -> None:
    d = spec.load("dgx-h200")
    d = replace(d, software=replace(d.software, lock=""), warnings=tuple(spec.not_locked(replace(d.software, lock=""))))
    assert "no conda.lock" in view.plan_text(d)
    (problem,) = json.loads(json.dumps(view.plan_json(d)))["problems"]
    assert (problem["level"], problem["where"]) == ("warning", "$.environment")
    assert set(problem) == {"level", "rule", "where", "token", "found", "wanted", "why", "fix", "source"}


@pytest.mark.parametrize(
    ("price", "text"),
    [
        ("", "8 GPUs on 1 node; the fleet's file names no price_per_gpu_hour"),
        ("2.5", "8 GPUs on 1 node x 2.50 = 20.00 an hour; 480.00 if it runs its whole time, 24:00:00;"),
    ],
)
def test_what_it_costs(price: str, text: str) -> None:
    d = spec.load("dgx-h200")
    it = view.reading(replace(d, fleet=replace(d.fleet, price_per_gpu_hour=price)))
    assert shown.cost(it).startswith(text)


def test_limits_against_what_is_asked() -> None:
    d = spec.load("dgx-h200")
    most = Limits(max_time="2-00:00:00", gpus=8, cpus=448, memory_mib=4096 * 1024)
    it = view.reading(replace(d, fleet=replace(d.fleet, limits=most)))
    assert [(need.name, need.needs, need.has, need.share) for need in shown.limits(it)] == [
        ("GPUs", "8", "8", 1.0),
        ("CPUs", "112", "448", 0.25),
        ("memory", "1800 GiB", "4096 GiB", pytest.approx(0.439, abs=0.001)),
        ("time", "1440 min", "2880 min", 0.5),
    ]


def test_the_ledger_is_that_of_the_fullest_gpu() -> None:
    plan = json.loads(json.dumps(view.plan_json(spec.read("k2-sglang-pd-4p12d"))))
    assert set(plan["ledgers"]) == {"prefill", "decode"}
    assert plan["ledger"]["gpu"] == plan["ledgers"]["prefill"]["gpu"]
