"""The CPU communicator, which shares memory only inside one node."""

import socket

import torch  # type: ignore[import-not-found]
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator  # type: ignore[import-not-found]


class StandInCommunicator(CpuCommunicator):  # type: ignore[misc]
    """Leaves shared memory to groups on one node: the CPU build compares a name that under Ray all nodes agree on."""

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        nodes = [""] * self.world_size
        torch.distributed.all_gather_object(nodes, socket.gethostname(), group=self.device_group)
        return super()._all_group_ranks_share_shm_group_name() and len(set(nodes)) == 1
