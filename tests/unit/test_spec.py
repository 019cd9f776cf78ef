"""A stack file becomes a deployment, or all its problems at once, each with its place and what to do."""

from pathlib import Path

import pytest

from hosts.errors import InputError
from hosts.schema import parse_yaml
from infra import environments, spec
from infra.launcher_file import slurm_time_is_valid
from tests.unit.stacks import FLEET, STACK, changed, parse


@pytest.mark.parametrize("stack", spec.stacks())
def test_shipped_stacks_are_right(stack: str) -> None:
    d = spec.load(stack)
    assert d.stack == stack
    assert all(problem.level == "warning" for problem in d.warnings)


def test_a_right_file(tmp_path: Path) -> None:
    d = parse(parse_yaml(STACK), tmp_path)
    assert (d.fleet.name, d.model.name, d.engine, d.release, d.environment) == (
        "ours", "kimi-k2", "vllm", "0.19.1", "engine",
    )  # fmt: skip
    assert (d.parallelism.world, d.port, d.default, d.launcher.partition) == (8, 8000, False, "gpu")
    assert d.served_name == "moonshotai/Kimi-K2-Instruct"
    assert d.warnings == ()


WRONG: list[tuple[str, object, str, str]] = [
    ("launcher.devices", "7-4", "$.launcher.devices", "each GPU once, in order"),
    ("launcher.devices", "0,7-4", "$.launcher.devices", "each GPU once, in order"),
    ("launcher.devices", "2,2", "$.launcher.devices", "each GPU once, in order"),
    ("fleet", "uors", "$.fleet", "a fleet with a file in"),
    ("fleet", None, "$.fleet", "found nothing, wanted a fleet with a file in hosts/inventory/ (bare, ours, theirs)"),
    ("fleet", "a b", "$.fleet", "a fleet with a file in hosts/inventory/ (bare, ours, theirs)"),
    ("fleet", 5, "$.fleet", 'write it in quotes: "5"'),
    ("model", None, "$.model", "kimi-k2.5"),
    ("environment", None, "$.environment", "(engine, unlocked); write slipway:environment: NAME"),
    ("fleet", "bare", "$.launcher.name", "a fleet with SLURM"),
    ("model", "kimi-k2.55", "$.model", "did you mean kimi-k2.5?"),
    ("environment", "engin", "$.environment", "did you mean engine?"),
    ("engine.name", "vlm", "$.engine.name", "did you mean vllm?"),
    ("engine.release", 0.19, "$.engine.release", "Pulumi rewrites the file, and an unquoted 1.20 becomes 1.2"),
    ("engine.release", "0.19.2", "$.engine.release", "0.19.1"),
    ("engine.release", "latest", "$.engine.release", "with a table in infra/engines/flags/ (0.10.0, 0.19.1"),
    ("engine.release", None, "$.engine.release", "found nothing, wanted a release of vllm with a table"),
    ("engine.relase", "0.19.1", "$.engine.relase", "did you mean release?"),
    ("engine.args", ["--max-model-len"], "$.engine.args", "a mapping of options"),
    ("engine.args.max-model-len", {"secure": "v1:abc"}, "$.engine.args.max-model-len", "an encrypted value"),
    ("engine.args.max-model-len", "a\nb", "$.engine.args.max-model-len", "one line of text"),
    ("engine.args.--port", 1, "$.engine.args.--port", "write port"),
    ("engine.args.hf-overrides", {"a": {1: 2}}, "$.engine.args.hf-overrides.a", "the key 1"),
    ("engine.env", {"lower": "1"}, "$.engine.env.lower", "capital letters"),
    ("engine.env", {"SLIPWAY_STACK": "x"}, "$.engine.env.SLIPWAY_STACK", "that Slipway and SLURM do not set"),
    ("engine.env", {"LD_PRELOAD": "x"}, "$.engine.env.LD_PRELOAD", "a known one"),
    ("engine.env", {"PYTHONPATH": "x"}, "$.engine.env.PYTHONPATH", "a known one"),
    ("engine.env", {"HF_TOKEN": "x"}, "$.engine.env.HF_TOKEN", "no secret here"),
    ("engine.env", {"VLLM_API_KEY": "x"}, "$.engine.env.VLLM_API_KEY", "no secret here"),
    ("engine.env", {"A": True}, "$.engine.env.A", "put it in quotes"),
    ("launcher.name", "slurms", "$.launcher.name", "did you mean slurm?"),
    ("launcher.time", 60, "$.launcher.time", "text in quotes"),
    ("launcher.time", "4h", "$.launcher.time", "a time as SLURM takes it, in quotes"),
    ("launcher.time", "24:61:00", "$.launcher.time", "a time as SLURM takes it"),
    ("launcher.time", None, "$.launcher.time", "found nothing"),
    ("launcher.partition", "cpu", "$.launcher.partition", "gpu, the partition of the fleet ours"),
    ("launcher.nodelist", "n3", "$.launcher.nodelist", "nodes of the fleet ours (n1, n2)"),
    ("launcher.nodelist", "n1,n2", "$.launcher.nodelist", "a job gets all nodes of its list"),
    ("launcher.gpus", 9, "$.launcher.gpus", "at most 8"),
    ("launcher.mem", 1800, "$.launcher.mem", "write it in quotes"),
    ("launcher.qos", "a\nb", "$.launcher.qos", "a QOS of SLURM"),
    ("launcher.constraint", "a b", "$.launcher.constraint", "features of nodes as sbatch takes them"),
    ("launcher.nodelist", "n1 n2", "$.launcher.nodelist", "names of nodes with commas between them"),
    ("launcher.partition", "a b", "$.launcher.partition", "the name of a partition"),
    ("experts", "a b", "$.experts", "a folder beside the models"),
    ("launcher.mem", "lots", "$.launcher.mem", "a whole number with a unit, as 1800G"),
    ("launcher.account", "a b", "$.launcher.account", "an account of SLURM"),
    ("parallelism.tensor", 0, "$.parallelism.tensor", "from 1 to"),
    ("parallelism.tensor", "8", "$.parallelism.tensor", "a whole number"),
    ("parallelism.tensor", 6, "$.parallelism.tensor", "a divisor of 64, the attention heads of kimi-k2 (1, 2, 4, 8,"),
    ("parallelism.tensor", 32, "$.parallelism.tensor", "at most 2 nodes: n1, n2"),
    ("parallelism.decode_context", 3, "$.parallelism.decode_context", "a divisor of tensor, 8"),
    ("parallelism.pipeline", 3, "$.parallelism", "at most 2 nodes"),
    ("parallelism.tensr", 8, "$.parallelism.tensr", "did you mean tensor?"),
    ("port", 80, "$.port", "a port from 1024 to 65535"),
    ("port", "http", "$.port", "a port from 1024 to 65535"),
    ("default", "yes", "$.default", "true or false"),
    ("secrets", {"api-key": "abc"}, "$.secrets.api-key", "pulumi config set --secret --path slipway:secrets.api-key"),
    ("secrets", {"hf": {"secure": "v1:x"}}, "$.secrets.hf", "one of api-key, munge-key"),
    ("roles", {"prefill": {}}, "$.roles", "vllm has no roles"),
    ("router", {"name": "nginx", "release": "1"}, "$.router.name", "one of sglang-router"),
    ("draft", "kimi-k3", "$.draft", "a model with a file in infra/models/"),
    ("draft", "kimi-k2", "$.draft", "another model than slipway:model"),
    ("engine.name", {"a": 1}, "$.engine.name", "one of vllm"),
    ("draft", "tiny-kimi-k2", "$.draft", "engine.args.speculative-config"),
    ("launcher.port", 22, "$.launcher.port", "from 1024 to"),
    ("launcher.shm", "lots", "$.launcher.shm", "a whole number with a unit, as 256G"),
    ("modle", "x", "$.modle", "did you mean model?"),
]


@pytest.mark.parametrize(("path", "value", "where", "says"), WRONG, ids=lambda v: str(v)[:40])
def test_one_wrong_value_is_one_problem(path: str, value: object, where: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        parse(changed(path, value), tmp_path)
    problems = caught.value.problems
    assert [problem.where for problem in problems] == [where]
    assert says in str(problems[0])
    assert "text like" not in str(problems[0])


def test_all_problems_at_once(tmp_path: Path) -> None:
    data = parse_yaml(
        "config:\n  slipwy:default: true\n  slipway:fleet: nowhere\n  slipway:model: gpt\n  slipway:port: 1\n"
        "  slipway:engine: {name: vllm, release: '0.19.1', args: {swap-space: 32, max-model-len: true}}\n"
        "  slipway:launcher: {name: slurm, time: 1-25}\n  engine: vllm\nconfigs: {}\n"
    )
    with pytest.raises(InputError) as caught:
        parse(data, tmp_path)
    assert {problem.where for problem in caught.value.problems} == {
        "$ configs", "$.engine", "$.slipwy:default", "$.fleet", "$.model", "$.environment", "$.port", "$.launcher.time",
        "$.engine.args.swap-space", "$.engine.args.max-model-len",
    }  # fmt: skip
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["[]", "config: []", "just text", "{}", "null"])
def test_what_is_no_stack_file(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        parse(parse_yaml(text), tmp_path)
    assert caught.value.problems[0].where == "$"


def test_what_is_pulumis_is_left_alone(tmp_path: Path) -> None:
    data = parse_yaml(
        f"encryptionsalt: v1:abc=:v1:def\nsecretsprovider: passphrase\nencryptedkey: x\n{STACK}"
        "  pulumi:tags: {a: b}\n  kubernetes:context: dev\n  slipway:secrets: {api-key: {secure: v1:abc}}\n"
    )
    assert parse(data, tmp_path).stack == "test"


def test_a_port_as_pulumi_config_set_writes_it(tmp_path: Path) -> None:
    assert parse(changed("port", "9000"), tmp_path).port == 9000
    assert parse(changed("port", 9000), tmp_path).port == 9000


def test_nested_too_deep_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    value: object = 1
    for _ in range(200):
        value = {"a": value}
    with pytest.raises(InputError) as caught:
        parse(changed("engine.args.hf-overrides", value), tmp_path)
    assert "nested too deep" in str(caught.value)


def test_an_environment_without_a_lock_is_a_warning(tmp_path: Path) -> None:
    d = parse(changed("environment", "unlocked"), tmp_path)
    (problem,) = d.warnings
    assert (problem.level, problem.where, problem.fix) == ("warning", "$.environment", "run: invoke env.lock unlocked")
    assert "which has no conda.lock" in str(problem)


IN_IMAGE: list[tuple[str, str, tuple[str, ...]]] = [
    ("ab" * 32, "ab" * 32, ()),
    ("", "0" * 64, ("other, which has no image.lock",)),
]


@pytest.mark.parametrize(("locked", "digest", "warnings"), IN_IMAGE)
def test_an_environment_may_be_an_image(locked: str, digest: str, warnings: tuple[str, ...], tmp_path: Path) -> None:
    parse(parse_yaml(STACK), tmp_path)
    folder = tmp_path / "environments" / "other"
    folder.mkdir()
    (folder / "image.yml").write_text("name: localhost/engine\n")
    if locked:
        (folder / "image.lock").write_text(f"localhost/engine@sha256:{locked}\n")
    stack = STACK.replace("fleet: ours", "fleet: bare").replace("{name: slurm, time", "{name: systemd, time")
    d = parse(changed("environment", "other", stack), tmp_path)
    assert (d.image, d.environment) == (f"localhost/engine@sha256:{digest}", "other")
    assert d.software == environments.IN_IMAGE
    assert tuple(it.found for it in d.warnings if it.rule == "environment") == warnings


HELD: list[tuple[str, str, str, str]] = [
    ("requirements.in", "vllm==0.19.1\n", "", ""),
    ("requirements.in", "vllm>=0.19\n", "", ""),
    ("requirements.in", "our-meta-package==1.0\n", "", ""),
    ("requirements.in", "sglang==0.5.9\nvllm @ https://wheels.example/v.whl\n", "", ""),
    ("requirements.in", "vllm==0.33.0\n", "$.engine.release", "set the release to 0.33.0, or name vllm-0.19.1"),
    ("requirements.in", "sglang==0.5.23\n", "$.environment", "holds sglang 0.5.23 and no vllm"),
    ("requirements.in", "vllm==0.19.1+cpu\n", "$.environment", "a build of vllm 0.19.1 for GPUs"),
    ("requirements.txt", "vllm==0.19.1+cu128\n", "", ""),
    ("requirements.txt", "vllm==0.19.1+cpu\n", "$.environment", "name vllm-0.19.1 or vllm-0.19.1-ray"),
    ("requirements.txt", "vllm==0.33.0\n", "$.engine.release", "wanted 0.33.0, which the environment"),
    ("requirements.txt", "torch==2.10.0\n", "$.environment", "which holds no vllm"),
]


@pytest.mark.parametrize(("file", "text", "where", "says"), HELD)
def test_the_environment_is_held_against_the_engine(
    file: str, text: str, where: str, says: str, tmp_path: Path
) -> None:
    parse(parse_yaml(STACK), tmp_path)
    (tmp_path / "environments" / "other").mkdir()
    (tmp_path / "environments" / "other" / file).write_text(text)
    if not where:
        parse(changed("environment", "other"), tmp_path)
        return
    with pytest.raises(InputError) as caught:
        parse(changed("environment", "other"), tmp_path)
    (problem,) = (problem for problem in caught.value.problems if problem.level == "error")
    assert (problem.where, problem.rule) == (where, "environment")
    assert problem.source == f"infra/environments/other/{file}"
    assert says in str(problem)


def test_a_build_for_cpus_is_what_stand_ins_take(tmp_path: Path) -> None:
    parse(parse_yaml(STACK), tmp_path)
    (tmp_path / "inventory" / "lab.yaml").write_text("stand_in: true\nwheels: /w\n" + FLEET.format(slurm="ours"))
    (tmp_path / "environments" / "engine" / "requirements.txt").write_text("vllm==0.19.1+cpu\n")
    assert parse(changed("fleet", "lab"), tmp_path).warnings == ()


def test_problems_of_the_fleet_file_name_it(tmp_path: Path) -> None:
    parse(parse_yaml(STACK), tmp_path)
    (tmp_path / "inventory" / "broken.yaml").write_text("slurm: ours\nstorage: {path: shared}\nhosts: {}\n")
    with pytest.raises(InputError) as caught:
        parse(changed("fleet", "broken"), tmp_path)
    wheres = [problem.where for problem in caught.value.problems]
    assert "$.fleet (broken: $.storage.path)" in wheres


def test_an_unknown_stack_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.lab.yaml").write_text(STACK)
    assert spec.stacks(tmp_path) == ("lab",)
    with pytest.raises(InputError, match="did you mean lab"):
        spec.load("lap", tmp_path)
    with pytest.raises(InputError, match="a stack with a file"):
        spec.load("../lab", tmp_path)


def test_a_stack_name_that_can_be_no_job_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it becomes the job's name"):
        parse(parse_yaml(STACK), tmp_path, stack="My_Stack")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("60", True), ("60:00", True), ("24:00:00", True), ("100:00:00", True), ("2-12", True), ("2-12:30", True),
        ("2-12:30:00", True), ("1-0", True), ("0", False), ("0-0", False), ("00:00:00", False), ("1:60", False),
        ("1-24", False), ("1:2:3:4", False), ("4h", False), ("", False), ("-1", False), ("1-", False),
    ],
)  # fmt: skip
def test_slurm_times(text: str, valid: bool) -> None:
    assert slurm_time_is_valid(text) is valid


def test_a_pin_that_no_public_index_has_wants_wheels(tmp_path: Path) -> None:
    parse(parse_yaml(STACK), tmp_path)
    text = "stand_in: true\n" + FLEET.format(slurm="ours")
    (tmp_path / "inventory" / "lab.yaml").write_text(text)
    (tmp_path / "environments" / "engine" / "requirements.txt").write_text("vllm==0.19.1+cpu\n")
    (found,) = parse(changed("fleet", "lab"), tmp_path).warnings
    assert found.found == "vllm==0.19.1+cpu, and no `wheels` in hosts/inventory/lab.yaml"
    assert "set `wheels: /FOLDER` there" in str(found)
    (tmp_path / "inventory" / "lab.yaml").write_text("wheels: /mirror/wheels\n" + text)
    assert parse(changed("fleet", "lab"), tmp_path).warnings == ()
