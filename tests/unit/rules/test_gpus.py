"""GPUs by their names, in documents and on machines."""

import pytest

from infra.rules import Subject
from infra.rules.gpus import about_others, generation, named_in


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("NVIDIA H200", "hopper"),
        ("NVIDIA_H200_141GB_HBM3e", "hopper"),
        ("h100", "hopper"),
        ("NVIDIA GH200 480GB", "hopper"),
        ("NVIDIA B200", "blackwell"),
        ("GB300", "blackwell"),
        ("NVIDIA RTX PRO 6000 Blackwell", "blackwell"),
        ("NVIDIA A100-SXM4-80GB", "older"),
        ("NVIDIA GeForce RTX 4090", "older"),
        ("AMD Instinct MI300X", ""),
        ("", ""),
    ],
)
def test_generations(name: str, wanted: str) -> None:
    assert generation(Subject(engine="vllm", release="0.19.1", gpu=name)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Serving on a DGX H200 with 8x H200", "H200"),
        ("verified on H100 and H200", "H100"),
        ("on H200, or on B200 with another back end", None),
        ("nothing is said", None),
    ],
)
def test_the_gpu_that_a_document_is_about(text: str, wanted: str | None) -> None:
    assert named_in(text) == wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("XPU platform supports tensor parallel inference", True),
        ("VLLM_TARGET_DEVICE=cpu python setup.py", True),
        ("on MI300X with ROCm", True),
        ("VLLM_TARGET_DEVICE=cuda", False),
        ("on H200, and on XPU", False),
        ("Intel Xeon beside eight GPUs", False),
    ],
)
def test_documents_about_other_makers(text: str, expected: bool) -> None:
    assert about_others(text) is expected
