"""The catalogue of models: strict files, and a manifest that the lab's own checkpoint fits."""

import hashlib
from pathlib import Path

import pytest

from hosts.errors import InputError
from hosts.schema import parse_yaml
from infra import model
from lab import checkpoint

RIGHT = (model.MODELS / "tiny-kimi-k2.yaml").read_text()


@pytest.mark.parametrize("name", model.names())
def test_the_catalogue_can_be_read(name: str) -> None:
    assert model.load(name).name == name


def test_the_lab_makes_the_files_of_the_manifest(tmp_path: Path) -> None:
    checkpoint.write(tmp_path)
    made = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size} {path.name}"
        for path in sorted(tmp_path.iterdir())
    ]
    assert tuple(made) == model.load("tiny-kimi-k2").files


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("repo: tiny-kimi-k2", "repo: tiny-kimi-k2\nrevision: main", "$.revision"),
        ("heads: 4", "heads: four", "$.architecture.heads"),
        ("heads: 4", "heds: 4", "$.architecture.heads"),
        ("chat_template.jinja", "/etc/passwd", "$.files[0]"),
        ("chat_template.jinja", "../x", "$.files[0]"),
        ("chat_template.jinja", "config.json", "$.files[1]"),
        ("source: /mirror", "source: mirror", "$.source"),
        ("  layers: 2", "  mixers: AXA\n  layers: 2", "$.architecture.mixers"),
        ("  layers: 2", "  mixers: AAA\n  layers: 2", "$.architecture.mixers"),
        ("  layers: 2", "  mlp_matrices: 4\n  layers: 2", "$.architecture.mlp_matrices"),
        ("  layers: 2", "  layers: 100000", "$.architecture.layers"),
        ("repo: ", "bytes_per_parameter: {attention: 2, routd: 1}\nrepo: ", "$.bytes_per_parameter.routd"),
        ("repo: ", "bytes_per_parameter: {attention: -2}\nrepo: ", "$.bytes_per_parameter.attention"),
        ("repo: ", "bytes_per_parameter: 2\nrepo: ", "$.bytes_per_parameter"),
    ],
)
def test_what_is_wrong_has_its_place(old: str, new: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        model.parse("x", parse_yaml(RIGHT.replace(old, new, 1)), "x.yaml")
    assert where in [problem.where for problem in caught.value.problems]


@pytest.mark.parametrize("name", model.names())
def test_every_model_is_found_by_its_repository(name: str) -> None:
    found = model.find(model.load(name).repo)
    assert found
    assert found.repo == model.load(name).repo


def test_a_pattern_of_layers_repeats() -> None:
    found = model.load("qwen3.5-35b-a3b-fp8").architecture
    assert found.mixers == "LLLA" * 10
    assert (found.layers_of("A"), found.layers_of("L"), found.layers_of("E")) == (10, 30, 40)


def test_components_may_have_sizes_of_their_own() -> None:
    found = model.load("nemotron-3-nano-fp8").bytes_by_component
    assert (found.attention, found.linear, found.routed) == (2.0, 1.26, 1.0)
    assert model.load("kimi-k2.5").precision is None
