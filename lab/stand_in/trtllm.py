"""A stand-in for TensorRT-LLM: `trtllm-serve`, and `trtllm-llmapi-launch` that makes MPI ranks of it."""

import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lab.stand_in import arguments, llm_args, machine, world
from lab.stand_in.api import Engine, serve

RELEASE = "1.3.0rc3"
TABLE = f"trtllm-{RELEASE}.json"
LAUNCHED = "TLLM_SPAWN_PROXY_PROCESS"
"""What the real launcher sets for the command that it starts."""
HEAD = "SLIPWAY_HEAD_ADDRESS"
"""Where rank 0 is, where it is not where Open MPI's mpirun runs."""


def launch(words: Sequence[str]) -> NoReturn:
    """`trtllm-llmapi-launch COMMAND …`, once a rank: the server on rank 0, workers on the others."""
    machine.named("trtllm-llmapi-launch")
    if "OMPI_COMM_WORLD_RANK" not in os.environ:
        machine.fail("no rank: start it with mpirun or srun --mpi")
    if not words:
        machine.fail("no command to start")
    os.environ[LAUNCHED] = "1"
    try:
        os.execvp(words[0], list(words))  # noqa: S606 - without a shell is what is meant
    except OSError as error:
        machine.fail(f"{words[0]}: {error}")


def main(words: Sequence[str]) -> NoReturn:
    """`trtllm-serve [serve] MODEL …`."""
    machine.named("trtllm-serve")
    table = arguments.load(TABLE)
    rest = list(words[1:] if words[:1] == ["serve"] else words)
    if "--help" in rest:
        sys.stdout.write("".join(f"  {name}\n" for name in table["flags"]))
        sys.exit(0)
    try:
        given, positional = arguments.read_click(table, rest)
    except arguments.Refused as refusal:
        usage = "Usage: trtllm-serve serve [OPTIONS] MODEL\nTry 'trtllm-serve serve --help' for help.\n\n"
        sys.stderr.write(f"{usage}Error: {refusal}\n")
        sys.exit(2)
    settings: dict[str, Any] = {name.removeprefix("--"): value for name, value in given.items()}
    if given["--config"]:
        settings |= llm_args.read(str(given["--config"]), table)  # the YAML wins
    _rank(settings, positional[0])


def _rank(settings: Mapping[str, Any], model: str) -> NoReturn:
    """This process's part: one rank of mpirun's, or all of them."""
    count = int(settings["tensor_parallel_size"]) * int(settings["pipeline_parallel_size"])
    rank, size = (
        int(os.environ.get(f"OMPI_COMM_WORLD_{what}", default)) for what, default in (("RANK", 0), ("SIZE", 1))
    )
    local = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", "0"))
    launched = os.environ.get(LAUNCHED) == "1"
    machine.say(
        f"{RELEASE}, a stand-in: rank {rank} of {size} on {machine.here()}: local rank {local},"
        f" GPU devices {machine.gpu_words()}"
    )
    if size > 1 and not launched:
        machine.fail(f"{size} MPI ranks without trtllm-llmapi-launch: each of them would start a server of its own")
    if launched and size != count:
        shape = f"tp_size {settings['tensor_parallel_size']} x pp_size {settings['pipeline_parallel_size']}"
        machine.fail(f"world size {size} is not {shape} = {count}")
    if launched:
        threading.Thread(target=_watch, args=(rank, os.getppid()), daemon=True).start()
    machine.need_gpus(local + 1 if launched else count)
    machine.need_model(model)
    port = int(settings["port"])
    job = os.environ.get("PMIX_NAMESPACE", "alone")
    meeting = port + 10000 if port < 50000 else port - 10000
    if rank:
        world.work(rank, size, _heads(), meeting, job)
    ranks = world.World(size, meeting, job)
    ranks.gather()
    info = {"model_path": model, "tp_size": settings["tensor_parallel_size"], "world_size": count}
    engine = Engine(
        program="trtllm-serve", version=RELEASE, model=Path(model).name, host=str(settings["host"]), port=port,
        before=lambda _, __: ranks.step(), info=info,
    )  # fmt: skip
    serve(engine, ranks.leave, ranks.close)


def _watch(rank: int, daemon: int) -> None:
    """A rank ends with the daemon of mpirun's that started it, as Open MPI sees to."""
    while os.getppid() == daemon:
        time.sleep(0.2)
    machine.end(f"rank {rank} on {machine.here()}: mpirun's daemon was lost")


def _heads() -> list[str]:
    """The addresses at which rank 0 may be found: as told, else mpirun's own, which runs beside rank 0."""
    if told := os.environ.get(HEAD):
        return [told]
    uri = os.environ.get("OMPI_MCA_orte_hnp_uri", "")  # noqa: SIM112 - Open MPI spells it so
    found = [address for part in re.findall(r"tcp://([^:;]+)", uri) for address in part.split(",")]
    return found or ["127.0.0.1"]
