"""What the words before a command, and a script's #SBATCH lines, say of where it runs."""

import pytest

from infra.rules.launch import Launch, read


@pytest.mark.parametrize(
    ("prefix", "directives", "wanted"),
    [
        ("", {}, Launch()),
        ("srun -N2 -n 16", {}, Launch(programs=("srun",), nodes=2, processes=16)),
        ("srun --nodes=2 --ntasks-per-node=8", {}, Launch(programs=("srun",), nodes=2, processes=16)),
        ("srun", {"nodes": "2", "gpus-per-node": "8"}, Launch(programs=("srun",), nodes=2, gpus_per_node=8)),
        ("", {"gres": "gpu:h200:8"}, Launch(gpus_per_node=8, gpu="h200")),
        ("", {"gres": "shard:4"}, Launch()),
        ("", {"nodes": "2", "gpus": "16"}, Launch(nodes=2, gpus_per_node=8)),
        ("srun -w n[1-3],m1", {}, Launch(programs=("srun",), nodes=4)),
        ("srun -N $NODES", {}, Launch(programs=("srun",))),
        (
            "mpirun -np 16 -H <HOST1>:8,<HOST2>:8 -mca plm_rsh_args -p_2233 trtllm-llmapi-launch",
            {},
            Launch(programs=("mpirun", "trtllm-llmapi-launch"), processes=16, nodes=2, slots=16, forwarded=frozenset()),
        ),
        (
            "/opt/mpi/bin/mpiexec -n 2 -host a,b -x A=1 -x B",
            {},
            Launch(programs=("mpirun",), processes=2, nodes=2, slots=2, forwarded=frozenset({"A", "B"})),
        ),
        (
            "mpirun -np 4 -H a --oversubscribe",
            {},
            Launch(programs=("mpirun",), processes=4, nodes=1, forwarded=frozenset()),
        ),
        ("docker run --gpus all -p 8000:8000 image", {}, Launch(programs=("docker",), published=True)),
        (
            "docker run -p 8000:8000 --network=host image",
            {},
            Launch(programs=("docker",), on_host=True),
        ),
        ("srun --mem=480G", {}, Launch(programs=("srun",), memory_gib=480.0)),
        ("", {"mem": "491520"}, Launch(memory_gib=480.0)),
        ("", {"mem": "0"}, Launch()),
        ("docker run -m 512m image", {}, Launch(programs=("docker",), memory_gib=0.5)),
        ("docker run --gpus device=0,1 image", {}, Launch(programs=("docker",), gpus_per_node=2)),
        ("srun -w [", {}, Launch(programs=("srun",), nodes=1)),
        ("srun -w n[-]", {}, Launch(programs=("srun",))),
    ],
)
def test_where_a_command_runs(prefix: str, directives: dict[str, str], wanted: Launch) -> None:
    found = read(prefix.split(), directives)
    assert (found.nodes or None, found) == (wanted.nodes, found)
    assert found == wanted or found.nodes == 0
