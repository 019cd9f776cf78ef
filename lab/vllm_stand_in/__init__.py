"""A stand-in GPU for vLLM's CPU build, so that its Ray executor runs on CPUs as it does on GPUs; `lab.repack` adds it.

The CPU build has no device that Ray could count, and turns `ray` into `mp` on one node, with a warning alone. The
platform here counts the GPUs that `ray start --num-gpus` declares, and keeps `ray` where it was asked for; what
computes stays the CPU's, and everything else vLLM's own code. In the wheel it is the package `vllm_stand_in`.
"""

GENERAL = "stand_in_experts = vllm_stand_in.experts:register"
"""Among vLLM's general plugins, which its every process loads."""
PLATFORM = "[vllm.platform_plugins]\nstand_in = vllm_stand_in:register"


def register() -> str:
    """The platform's class, by name: vLLM's platforms can't be imported yet."""
    return "vllm_stand_in.platform.StandInPlatform"
