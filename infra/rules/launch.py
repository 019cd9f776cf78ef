"""What stands before a command says where it runs: srun, mpirun, docker run, and the #SBATCH lines of its script."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

_NUMBER = re.compile(r"[0-9]+")
_GPUS = re.compile(r"(?:gpu:)?(?:([A-Za-z][\w.-]*):)?([0-9]+)")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([BKMGTbkmgt]?)(?:[iI]?[bB])?")
_RANGE = re.compile(r"\[([^\]]*)\]")
_SPAN = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
PROGRAMS = {
    "srun": "srun",
    "salloc": "srun",
    "sbatch": "srun",
    "mpirun": "mpirun",
    "mpiexec": "mpirun",
    "orterun": "mpirun",
    "docker": "docker",
    "podman": "docker",
    "nerdctl": "docker",
    "trtllm-llmapi-launch": "trtllm-llmapi-launch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Where a command runs, as far as the words before it say."""

    programs: tuple[str, ...] = ()
    """Outermost first, without path: "mpirun", "trtllm-llmapi-launch"."""
    processes: int | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    gpu: str | None = None
    slots: int | None = None
    forwarded: frozenset[str] | None = None
    published: bool = False
    memory_gib: float | None = None
    """RAM of a node that the job or container may take."""
    on_host: bool = False
    """Whether its container has the network of its host."""


def read(prefix: Sequence[str], directives: Mapping[str, str]) -> Launch:
    """The launch of a command from the words before it and the options of its `#SBATCH` lines, without dashes."""
    found = Launch()
    for option, value in directives.items():
        found = _of_srun(found, f"--{option}", value)
    found = replace(found, programs=())
    for program, words in _sections(prefix):
        found = replace(found, programs=(*found.programs, program))
        if program == "mpirun":
            found = replace(found, forwarded=frozenset(), processes=None)
        for option, value in _options(words):
            found = READERS.get(program, _nothing)(found, option, value)
    return found


def _sections(prefix: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each launcher with the words up to the next one."""
    program, words = "", list[str]()
    for word in prefix:
        known = PROGRAMS.get(word.rpartition("/")[2])
        if known:
            if program:
                yield program, words
            program, words = known, []
        else:
            words.append(word)
    if program:
        yield program, words


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with the word after them; `--nodes=2` and `-N2` are taken apart."""
    for n, word in enumerate(words):
        following = words[n + 1] if n + 1 < len(words) else ""
        if word.startswith("--") and "=" in word:
            name, _, value = word.partition("=")
            yield name, value
        elif re.fullmatch(r"-[A-Za-z][0-9]+", word):
            yield word[:2], word[2:]
        elif word.startswith("-"):
            yield word, following


def _whole(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _of_srun(found: Launch, option: str, value: str) -> Launch:
    number = _whole(value)
    if option in ("-N", "--nodes"):
        return replace(found, nodes=number)
    if option in ("-n", "--ntasks"):
        return replace(found, processes=number)
    if option == "--ntasks-per-node":
        return replace(found, processes=number * found.nodes if number and found.nodes else None)
    if option in ("-w", "--nodelist") and value and "$" not in value:
        return replace(found, nodes=found.nodes or _hosts(value))
    return replace(found, memory_gib=_gib(value, "M")) if option == "--mem" else _gpus(found, option, value)


def _gpus(found: Launch, option: str, value: str) -> Launch:
    """`--gres=gpu:h200:8`, `--gpus-per-node=8`, `--gpus=16` of the nodes named before."""
    amount = _GPUS.fullmatch(value) if option in ("--gpus-per-node", "--gres", "-G", "--gpus") else None
    if not amount or (option == "--gres" and not value.startswith("gpu")):
        return found
    gpus = int(amount[2])
    if option in ("-G", "--gpus"):
        gpus = gpus // found.nodes if found.nodes else 0
    return replace(found, gpus_per_node=gpus or None, gpu=amount[1] or found.gpu)


def _hosts(text: str) -> int:
    """How many hosts `n[1-4,7],m1` names."""
    ranges = _RANGE.findall(text)
    inside = sum(int(last or first) - int(first) + 1 for spans in ranges for first, last in _SPAN.findall(spans))
    outside = len([name for name in _RANGE.sub("", text).split(",") if name]) - len(ranges)
    return inside + outside


def _of_mpirun(found: Launch, option: str, value: str) -> Launch:
    if option in ("-np", "--np", "-n", "-c"):
        return replace(found, processes=_whole(value))
    if option in ("-H", "-host", "--host") and "$(" not in value:
        hosts = [part.rpartition(":") for part in value.split(",") if part]
        counts = [_whole(slots) if name else 1 for name, _, slots in hosts]
        known = [count for count in counts if count is not None]
        if len(known) != len(counts):
            return replace(found, nodes=len(hosts))
        return replace(found, nodes=len(hosts), slots=sum(known), gpus_per_node=found.gpus_per_node)
    if option == "-x" and found.forwarded is not None:
        return replace(found, forwarded=found.forwarded | {value.partition("=")[0]})
    if option in (
        "--oversubscribe",
        "-oversubscribe",
        "--map-by",
        "-map-by",
        "--hostfile",
        "-hostfile",
        "-machinefile",
    ):
        return replace(found, slots=None)
    return found


def _gib(text: str, unit: str) -> float | None:
    """`480G` in GiB; a number alone counts in `unit`, and 0 asks for everything."""
    size = _SIZE.fullmatch(text)
    if not size or float(size[1]) == 0:
        return None
    return float(size[1]) * float(2 ** (10 * ("BKMGT".index(size[2].upper() or unit)) - 30))


def _of_docker(found: Launch, option: str, value: str) -> Launch:
    if option in ("-m", "--memory"):
        return replace(found, memory_gib=_gib(value, "B"))
    if option in ("-p", "--publish", "-P", "--publish-all"):
        return replace(found, published=not found.on_host)
    if option in ("--network", "--net") and value == "host":
        return replace(found, published=False, on_host=True)
    if option == "--gpus":
        value = value.strip("'\"")
        devices = value.removeprefix("device=").split(",") if value.startswith("device=") else []
        return replace(found, gpus_per_node=len(devices) or _whole(value) or found.gpus_per_node)
    return found


def _nothing(found: Launch, _option: str, _value: str) -> Launch:
    return found


READERS: Mapping[str, Callable[[Launch, str, str], Launch]] = {
    "srun": _of_srun,
    "mpirun": _of_mpirun,
    "docker": _of_docker,
}
