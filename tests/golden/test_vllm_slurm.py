"""vLLM through SLURM: the whole sbatch script of the shipped stacks, and of one over two nodes."""

import subprocess
from dataclasses import replace

import pytest

from infra.deployment import Deployment, EndpointConfig, Parallelism
from infra.desired import desired
from infra.model import load
from tests.conftest import Golden
from tests.unit.stacks import shipped


def two_nodes() -> Deployment:
    """Kimi-K2 (FP8) over sixteen GPUs, with what a site may ask for."""
    d = shipped("dgx-h200")
    launcher = replace(d.launcher, account="proj1", qos="gpu-long", constraint="h200")
    return replace(
        d,
        stack="k2-two-nodes",
        model=load("kimi-k2"),
        args={"kv-cache-dtype": "fp8", "compilation-config": {"cudagraph_mode": "PIECEWISE"}, "max-model-len": "128k"},
        env={"NCCL_SOCKET_IFNAME": "ens1f0"},
        launcher=launcher,
        parallelism=Parallelism(tensor=16, expert=True),
    )


def behind_a_gateway() -> Deployment:
    """Two nodes of the lab, with TLS."""
    tls = EndpointConfig(certificate="/storage/cert.pem", key="/storage/key.pem")
    return replace(shipped("lab-tp2"), endpoint=tls)


CASES = {
    "lab": lambda: shipped("lab"),
    "dgx-h200": lambda: shipped("dgx-h200"),
    "k2-two-nodes": two_nodes,
    "behind-a-gateway": behind_a_gateway,
}


@pytest.mark.parametrize("name", CASES)
def test_sbatch(name: str, golden: Golden) -> None:
    stages = desired(CASES[name](), backend="", holder="", digests={})
    (launch,) = (stage for stage in stages if stage.name == "launch")
    (script,) = (getattr(r, "content", "") for r in launch.hosts["login"] if r.key.endswith("/job.sbatch"))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    rank = script.partition("<<'SLIPWAY_RANK' &\n")[2].partition("\nSLIPWAY_RANK\n")[0]
    subprocess.run(["bash", "-n"], input=rank, text=True, check=True)
    golden(f"vllm-slurm/{name}.sbatch", script)
