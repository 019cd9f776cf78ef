"""The CPU platform with a device that Ray counts, and groups that may lie on several nodes."""

from typing import Any

from vllm.platforms.cpu import CpuPlatform  # type: ignore[import-not-found]


class StandInPlatform(CpuPlatform):  # type: ignore[misc]
    """A CPU that Ray counts as a GPU."""

    ray_device_key = "GPU"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """The communicator's class, by name."""
        return "vllm_stand_in.communicator.StandInCommunicator"

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:  # noqa: ANN401 - vLLM's own
        """As the CPU's, which allows `mp` alone: `ray` stays where it was asked for; its worker names its device."""
        parallel = vllm_config.parallel_config
        asked, worker = parallel.distributed_executor_backend, parallel.worker_cls
        super().check_and_update_config(vllm_config)
        if asked == "ray":
            parallel.distributed_executor_backend = asked
            if worker == "auto":
                parallel.worker_cls = "vllm_stand_in.worker.StandInWorker"
