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
    ],
)
def test_what_is_wrong_has_its_place(old: str, new: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        model.parse("x", parse_yaml(RIGHT.replace(old, new, 1)), "x.yaml")
    assert where in [problem.where for problem in caught.value.problems]
