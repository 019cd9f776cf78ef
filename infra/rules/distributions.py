"""What a document installs: the distributions, what it asks of their versions, and what the engines ask of others."""

import re
from collections.abc import Iterator, Mapping, Sequence

from infra.rules.release import key
from infra.rules.script import Step

_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)(\[[\w,. -]*\])?\s*((?:[=<>!~]=?=?[^;@ ]+)?)(?:[;@ ].*)?")
CLAUSE = re.compile(r"(===?|<=|>=|!=|~=|<|>)\s*([0-9][\w.*]*)")
_INSTALLERS = (("pip", "install"), ("pip3", "install"), ("uv", "add"), ("conda", "install"), ("mamba", "install"))
_WITH_VALUE = frozenset(
    {
        "-c",
        "-f",
        "-i",
        "-n",
        "-p",
        "-r",
        "-t",
        "--channel",
        "--extra-index-url",
        "--find-links",
        "--index-url",
        "--name",
    }
    | {"--constraint", "--prefix", "--python", "--requirement", "--target", "--torch-backend", "--index"}
)

REQUIRES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("vllm", "0.10.0"): {"transformers": ">=4.53.2", "torch": "==2.7.1", "huggingface-hub": ">=0.33.0"},
    ("vllm", "0.19.1"): {
        "transformers": ">=4.56.0,!=5.0.*,!=5.1.*,!=5.2.*,!=5.3.*,!=5.4.*,!=5.5.0",
        "torch": "==2.10.0",
    },
    ("vllm", "0.33.0"): {"transformers": ">=5.16.1,<5.21.0", "torch": "==2.14.0", "huggingface-hub": ">=1.31.0"},
    ("sglang", "0.4.9.post6"): {"transformers": "==4.54.0", "torch": "==2.7.1"},
    ("sglang", "0.5.9"): {"transformers": "==4.57.1", "torch": "==2.9.1"},
    ("sglang", "0.5.10.post1"): {"transformers": "==5.3.0", "torch": "==2.9.1"},
    ("sglang", "0.5.23"): {"transformers": "==5.19.0", "torch": "==2.14.1"},
    ("sglang-kt", "0.7.2"): {"torch": "==2.9.1", "transformers-kt": "==5.6.0.post6", "kt-kernel": "==0.7.2"},
    ("kt-kernel", "0.7.2"): {"torch": "==2.9.1"},
}
"""`Requires-Dist` of the wheels, as far as documents pin against it."""


PYTHON: Mapping[tuple[str, str], str] = {
    ("vllm", "0.10.0"): ">=3.9,<3.13",
    ("vllm", "0.19.1"): ">=3.10,<3.14",
    ("vllm", "0.33.0"): ">=3.11,<3.15",
    ("sglang", "0.5.9"): ">=3.10",
    ("sglang", "0.5.10.post1"): ">=3.10",
    ("sglang", "0.5.23"): ">=3.11",
    ("sglang-kt", "0.7.2"): ">=3.10",
    ("kt-kernel", "0.7.2"): ">=3.10",
}
"""`Requires-Python` of the wheels."""


def installed(steps: Sequence[Step]) -> dict[str, str]:
    """What is asked of each distribution that these commands install; extras are keys of their own: "vllm[bench]"."""
    found: dict[str, str] = {}
    for step in steps:
        for word in _requirements(step.words):
            asked = _REQUIREMENT.fullmatch(word)
            if asked:
                name = re.sub(r"[-_.]+", "-", asked[1]).lower()
                found[name] = asked[3].replace(" ", "") or found.get(name, "")
                for extra in (asked[2] or "").strip("[]").split(","):
                    if extra.strip():
                        found[f"{name}[{extra.strip()}]"] = ""
    return found


def _requirements(words: Sequence[str]) -> Iterator[str]:
    """The requirements among the words of an installation; nothing where it is none."""
    names = [word.rpartition("/")[2] for word in words]
    start = next((n + 2 for n in range(len(names) - 1) if tuple(names[n : n + 2]) in _INSTALLERS), 0)
    skip = False
    for given in words[start:] if start else ():
        word = given.replace(" ", "")
        if skip or word.startswith("-") or "/" in word or "$" in word or word.endswith((".whl", ".txt", ".")):
            skip = not skip and word in _WITH_VALUE
            continue
        yield word


def satisfies(version: str, clauses: str) -> bool:
    """Whether a version is within `>=4.56,!=5.0.*,<5.6`."""
    here = key(version)
    for operator, bound in CLAUSE.findall(clauses):
        prefix = bound.removesuffix(".*")
        same = here == key(bound) if prefix == bound else version == prefix or version.startswith(f"{prefix}.")
        wrong = {
            "==": not same,
            "===": not same,
            "!=": same,
            ">=": here < key(bound),
            "<=": here > key(bound),
            "<": here >= key(bound),
            ">": here <= key(bound),
            "~=": here < key(bound) or not version.startswith(f"{bound.rpartition('.')[0]}."),
        }[operator]
        if wrong:
            return False
    return True


def pinned(asked: str) -> str:
    """The one version that `==0.19.1` allows; "" where it allows several."""
    found = re.fullmatch(r"===?([0-9][\w.]*)(?:\+[\w.]+)?", asked)
    return found[1] if found else ""
