"""The environment of every engine process, whatever starts it: tagged, offline, with its caches on storage."""

from infra import paths
from infra.deployment import Deployment


def environment(d: Deployment, mark: str) -> dict[str, str]:
    """Variables by name; `mark` is the fingerprint that the process is started with."""
    cache = paths.cache(d)
    return {
        "HF_HOME": f"{cache}/hf",
        "HF_HUB_OFFLINE": "1",
        "HOME": f"{cache}/home",
        "LANG": "C.UTF-8",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "SLIPWAY_FINGERPRINT": mark,
        "SLIPWAY_STACK": d.stack,
        # engines retitle their processes; without this the title is written over /proc/PID/environ, and the tag is gone
        "SPT_NOENV": "1",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "TRITON_CACHE_DIR": f"{cache}/triton",
        "XDG_CACHE_HOME": f"{cache}/xdg",
    }
