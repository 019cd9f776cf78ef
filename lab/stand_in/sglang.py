"""A stand-in for SGLang: `python -m sglang.launch_server`, on several nodes, or as prefill or decode."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from lab.stand_in import arguments, machine, transfer, world
from lab.stand_in.api import Engine, serve

RELEASE = "0.5.23"
VERSION = f"{RELEASE}+standin"
TABLE = f"sglang-{RELEASE}.json"


def command() -> NoReturn:
    """The console script `sglang`."""
    if sys.argv[1:2] == ["version"]:
        sys.stdout.write(f"sglang {VERSION}\n")
        sys.exit(0)
    if sys.argv[1:2] != ["serve"]:
        sys.exit("usage: sglang {serve,version} …\nsglang: error: a stand-in knows the commands serve and version")
    main(sys.argv[2:], module=False)


def main(words: Sequence[str], *, module: bool = True) -> NoReturn:
    """Serve, or be another node of what serves."""
    table = arguments.load(TABLE)
    machine.named("sglang")
    parser = arguments.parser_of(table, "launch_server.py" if module else "sglang serve", positional=not module)
    given: dict[str, Any] = vars(parser.parse_args(words))
    model = str(given["--model-path"] or given.get("model_path") or "")
    if not model:
        parser.error("the following arguments are required: --model-path/--model")
    if given["--config"]:
        machine.fail("a stand-in reads no --config")
    nodes, node = int(given["--nnodes"]), int(given["--node-rank"])
    ranks = int(given["--tp-size"]) * int(given["--pp-size"])
    if ranks % nodes:
        machine.fail("AssertionError: tp_size must be divisible by number of nodes")
    if not 0 <= node < nodes:
        machine.fail(f"--node-rank is {node} of {nodes} nodes")
    head = str(given["--dist-init-addr"] or "")
    host, colon, port = head.rpartition(":")
    if nodes > 1 and not (colon and host and port.isdigit()):
        machine.fail(f"please provide --dist-init-addr as host:port of first node, got {head!r}")
    machine.say(
        f"{VERSION}, a stand-in: node {node} of {nodes} on {machine.here()}: {ranks // nodes} ranks,"
        f" GPU devices {machine.gpu_words()}"
    )
    machine.need_gpus(ranks // nodes)
    machine.need_model(model)
    if node:
        world.work(node, nodes, [host.strip("[]")], int(port), f"sglang {head}")
    _lead(given, model, world.World(nodes, int(port or 0), f"sglang {head}"))


def _lead(given: Mapping[str, Any], model: str, ranks: world.World) -> NoReturn:
    """Rank 0: it answers when all nodes are there."""
    mode, port = given["--disaggregation-mode"], int(given["--disaggregation-bootstrap-port"])
    ranks.gather()
    rooms = transfer.Rooms(given["--host"], port) if mode == "prefill" else None

    def before(request: Mapping[str, Any], digest: str) -> None:
        asked = transfer.rooms_of(request, port) if mode != "null" else []
        if mode == "decode":
            for place in asked:
                transfer.fetch(*place, digest)
        ranks.step()
        if rooms:
            rooms.put([room for _, _, room in asked], digest)

    info = {
        "model_path": model, "tp_size": int(given["--tp-size"]), "pp_size": int(given["--pp-size"]),
        "dp_size": int(given["--dp-size"]), "served_model_name": given["--served-model-name"] or model,
        "disaggregation_mode": mode, "disaggregation_bootstrap_port": port, "nnodes": int(given["--nnodes"]),
    }  # fmt: skip
    engine = Engine(
        program="sglang", version=VERSION, model=str(info["served_model_name"]), host=given["--host"],
        port=int(given["--port"]), api_key=given["--api-key"] or "", before=before, info=info,
    )  # fmt: skip
    if rooms:
        engine.most = 1
    serve(engine, ranks.leave, ranks.close)


if __name__ == "__main__":
    main(sys.argv[1:])
