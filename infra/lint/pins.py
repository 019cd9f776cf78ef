"""Which releases a text asks for: requirements, images, wheels, checked-out tags."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

from infra.flags.words import Token
from infra.lint.document import Pin
from infra.lint.signature import base

PACKAGES: Mapping[str, str] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "sglang-kt": "sglang-kt",
    "kt-kernel": "kt-kernel",
    "tensorrt-llm": "trtllm",
    "ktransformers": "ktransformers",
    "sglang-router": "sglang-router",
    "huggingface-hub": "huggingface-hub",
}
"""The table's name by distribution name."""
MAX_FILE = 1 << 18
"""Characters of one written file that are kept."""
_NAMES = (
    r"vllm|sglang-kt|sglang[-_]router|sglang|kt[-_]kernel|ktransformers|tensorrt[-_]llm|huggingface[-_]hub"
    r"|transformers|ray"
)
_RELEASE = r"[0-9]+(?:\.[0-9]+)+(?:[.-]?(?:rc|post|dev|a|b)[0-9]+)*"
_REQUIREMENT = re.compile(
    rf"(?<![\w./-])(?P<name>{_NAMES})(?:\[[\w, -]{{0,80}}\])?[ \t]{{0,4}}"
    rf"(?P<operator>===?|~=|>=|<=|<|>|(?<![=<>!~])=(?=[0-9]))[ \t]{{0,4}}v?(?P<release>{_RELEASE})",
    re.IGNORECASE,
)
_IMAGE = re.compile(
    rf"(?P<image>vllm-openai[\w.-]{{0,60}}|lmsysorg/sglang|(?:^|[\s\"'/=])sglang|tensorrt-llm/(?:release|devel)|(?<=/)vllm):v?(?P<release>{_RELEASE})",
    re.MULTILINE,
)
_WHEEL = re.compile(
    rf"(?<![\w.-])(?P<name>vllm|sglang|sglang_kt|kt_kernel|tensorrt_llm)-(?P<release>{_RELEASE})(?:\+[\w.]+)?-(?:cp|py)[0-9]"
)
_TAGGED = re.compile(
    rf"(?:-b|--branch|checkout|@|archive/refs/tags/|releases/download/)[ \t/]{{0,2}}v(?P<release>{_RELEASE})"
)
_PROJECTS = (("vllm-project/vllm", "vllm"), ("sgl-project/sglang", "sglang"), ("NVIDIA/TensorRT-LLM", "tensorrt-llm"))
_FORK = re.compile(r"kvcache-ai/sglang|(?<![\w-])sglang-kt(?![\w-])")
_RAY = re.compile(r"(?<![A-Za-z])ray(?![A-Za-z])")
_SPEC = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]{0,80})(?P<extras>\[[\w, -]{0,80}\])?(?P<rest>.*)", re.DOTALL)
_MODULE = re.compile(
    rf"(?:^|[\s;&])module[ \t]+(?:load|add)[ \t][^\n;&]{{0,200}}?(?P<name>vllm|sglang)/v?(?P<release>{_RELEASE})",
    re.MULTILINE,
)


def of_text(text: str) -> Iterator[Pin]:
    """Every version that a text asks for, in its order by kind."""
    ends = [found.start() for found in re.finditer("\n", text)]

    def line(at: int) -> int:
        return bisect_right(ends, at - 1) + 1

    for found in _REQUIREMENT.finditer(text):
        if found["operator"] == "=" and re.match(r"[ \t]", found[0][len(found["name"]) :]):
            continue
        name = found["name"].lower().replace("_", "-")
        operator = "==" if found["operator"] in ("=", "===") else found["operator"]
        yield Pin(package=name, release=normal(found["release"]), line=line(found.start()), operator=operator)
    for found in _IMAGE.finditer(text):
        yield Pin(
            package=_image_package(found["image"]), release=normal(found["release"]), line=line(found.start("image"))
        )
    for pattern in (_WHEEL, _MODULE):
        for found in pattern.finditer(text):
            yield Pin(
                package=found["name"].replace("_", "-"), release=normal(found["release"]), line=line(found.start())
            )
    for found in _TAGGED.finditer(text):
        before = text[max(0, found.start() - 300) : found.end()].rpartition("\n")[2]
        around = before + text[found.end() : found.end() + 300].partition("\n")[0]
        for project, package in _PROJECTS:
            if project.lower() in around.lower():
                yield Pin(package=package, release=normal(found["release"]), line=line(found.start()))


def names_the_fork(text: str) -> bool:
    """Whether SGLang is KTransformers' fork in this text."""
    return bool(_FORK.search(text))


def names_ray(text: str) -> bool:
    """Whether Ray is spoken of."""
    return bool(_RAY.search(text))


def of_image(image: str) -> str:
    """The release that an image's tag names, "" where it names none."""
    found = _IMAGE.search(image)
    return normal(found["release"]) if found else ""


def normal(release: str) -> str:
    """`1.0.0-rc2` is 1.0.0rc2."""
    return re.sub(r"[.-]?(rc|a|b)(?=[0-9])", r"\1", re.sub(r"[.-]?(post|dev)(?=[0-9])", r".\1", release))


def installed(words: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """(distribution, pinned version or "") of a `pip install`, `uv pip install` or `conda install`."""
    texts = [token.text for token in words]
    if "install" not in texts[:6] or not any(
        base(token).rstrip("0123456789.") in ("pip", "conda", "mamba") for token in words[:5]
    ):
        return
    for token in words[texts.index("install") + 1 :]:
        found = _SPEC.fullmatch(token.text)
        if not found or not token.certain.startswith(found["name"]) or "/" in token.text:
            continue
        version = re.match(rf"\s*={{1,3}}\s*v?({_RELEASE})", found["rest"]) if token.known else None
        yield found["name"].lower().replace("_", "-"), normal(version[1]) if version else ""


def _image_package(image: str) -> str:
    if "tensorrt" in image:
        return "tensorrt-llm"
    return "sglang" if "sglang" in image else "vllm"
