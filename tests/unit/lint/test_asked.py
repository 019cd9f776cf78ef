"""Wrong words on the command line are named with what is right."""

from pathlib import Path

import pytest

from hosts.errors import InputError
from infra.lint import asked


def test_a_file_is_read_whatever_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_bytes(b"vllm serve m # caf\xe9\n")
    assert asked.document(tmp_path / "a.sh") == "vllm serve m # caf\ufffd\n"


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x7fELF\0\0")
    for path, found in (
        (tmp_path / "a.bin", "a binary file"),
        (tmp_path / "b", "No such file"),
        (tmp_path, "directory"),
    ):
        with pytest.raises(InputError, match=found):
            asked.document(path)


def test_engines() -> None:
    assert (asked.engine(""), asked.engine("trtllm")) == (None, "trtllm")
    with pytest.raises(InputError, match="did you mean sglang"):
        asked.engine("sglan")


def test_releases() -> None:
    assert (asked.release("", None), asked.release("v0.19.1", "vllm"), asked.release("main-2026", None)) == (
        None, "0.19.1", "main-2026",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"0\.19\.1"):
        asked.release("latest", "vllm")
