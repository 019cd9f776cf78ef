"""The CPU worker, with the device that Ray's compiled graphs ask every worker for."""

import torch  # type: ignore[import-not-found]
from vllm.v1.worker.cpu_worker import CPUWorker  # type: ignore[import-not-found]


class StandInWorker(CPUWorker):  # type: ignore[misc]
    """Says that it computes on the CPU."""

    def init_device(self) -> None:
        """As the CPU worker's, which leaves the device open."""
        super().init_device()
        self.device = torch.device("cpu")
