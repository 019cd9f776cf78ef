"""From `pulumi up -s lab` to the first token, against `vllm serve` started by hand on the same node, in turns.

python -m bench.first_token [--rounds 2]     (`make demo` once before: cluster, environment and weights must be there)
"""

import argparse
import json
import os
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from bench.table import Row, report, spread, timed
from hosts import fleet
from infra import spec, view
from lab import nodes
from tools import activation
from tools.places import ROOT

STACK, NODE, UNIT = "lab", "dgx1", "bench-by-hand"
LIMIT_S = 300.0


def pulumi(*words: str) -> None:
    """Runs the CLI to its end. Raises CalledProcessError."""
    command = ["pulumi", *words, "-s", STACK, "--yes", "--skip-preview", "--non-interactive"]
    subprocess.run(command, cwd=ROOT, env=activation.environment(os.environ), check=True, capture_output=True)


def asked(url: str, model: str) -> bool:
    """Whether a completion came back with a token in it."""
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
    request = urllib.request.Request(  # noqa: S310 - http, made above
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return int(json.load(answer)["usage"]["completion_tokens"]) > 0
    except (OSError, ValueError, KeyError):
        return False


def by_hand(argv: list[str], env: dict[str, str], url: str, model: str) -> None:
    """The launch line as a person would start it on the node: the same words and variables, less the key."""
    settings = [f"--setenv={name}={value}" for name, value in env.items() if "(secret" not in value]
    command = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--uid=slipway", *settings, *argv]
    done = nodes.exec(NODE, command)
    assert done.returncode == 0, done.stderr
    end = time.monotonic() + LIMIT_S
    while not asked(url, model):
        assert time.monotonic() < end, "no token by hand"
        time.sleep(0.5)


def turn(start: Callable[[], None], stop: Callable[[], object]) -> float:
    """Seconds that a start takes; stopped again afterwards."""
    try:
        return timed(start)
    finally:
        stop()


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    it = spec.load(STACK)
    ranks: Any = view.plan_json(it)["ranks"]
    rank = ranks[0]
    env = {str(k): str(v) for k, v in rank["env"].items()}
    prefix = env["HF_HOME"].replace("/cache/", "/envs/").rpartition("/")[0]
    env |= {"PATH": f"{prefix}/bin:/usr/bin:/bin", "TMPDIR": "/tmp"}  # noqa: S108
    words = [str(word) for word in rank["argv"]]
    argv = [f"{prefix}/bin/{words[0]}", *words[1:]]
    url = f"http://{fleet.load('lab').host(NODE).address}:{it.port}"
    pulumi("up")
    pulumi("destroy")
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(options.rounds):
        theirs.append(
            turn(lambda: by_hand(argv, env, url, it.served_name), lambda: nodes.exec(NODE, ["systemctl", "stop", UNIT]))
        )
        ours.append(turn(lambda: pulumi("up"), lambda: pulumi("destroy")))
    more = statistics.median(ours) - statistics.median(theirs)
    rows: list[Row] = [
        {"what": "`pulumi up -s lab` to its end, which is the first token", "seconds": spread(ours)},
        {"what": "`vllm serve` by hand on the node, to the first token", "seconds": spread(theirs)},
        {"what": "difference of the medians", "seconds": f"{more:.1f} s"},
    ]
    report("first_token", "from the command to the first token", rows)


if __name__ == "__main__":
    main()
