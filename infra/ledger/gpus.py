"""GPUs by name: how much memory torch reports as their total, and where each figure is from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1 << 30
SOLD = 0.9
RESERVED_GIB = 0.6
"""What the driver keeps of what nvidia-smi calls total, on the GPUs that we know (reference/hardware)."""
SAME, UNUSUAL = 0.01, 0.08
"""Shares: two totals that differ by less are those of one product, by more are not."""
SAME_GIB = 0.35
"""Two totals that differ by less are the same product: drivers reserve a little more or less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One product. `total_gib` as torch prints it, which is less than what is sold and than what nvidia-smi says."""

    name: str
    total_gib: float
    vendor: str = "nvidia"
    source: str = ""
    usual_gib: float = 0.0
    """What the product of that name has; 0 where that is not known."""

    @property
    def unusual(self) -> bool:
        """Whether its memory is not that of its name; ECC alone takes a sixteenth of some products."""
        return bool(self.usual_gib) and abs(self.total_gib - self.usual_gib) > UNUSUAL * self.usual_gib

    @property
    def rocm(self) -> bool:
        """Whether it is AMD's."""
        return self.vendor == "amd"


ASSUMED = "engines.md 4.4, assumed"
GPUS: Mapping[str, Gpu] = {
    "h200": Gpu(name="H200", total_gib=139.80, source="reference/hardware: 150,109,880,320 B on a real one"),
    "h200-nvl": Gpu(name="H200 NVL", total_gib=139.80, source="as H200, assumed"),
    "h100": Gpu(
        name="H100 80GB", total_gib=79.18, source="85,017,493,504 B on a real one (81,559 MiB less 480 reserved)"
    ),
    "h100-nvl-94": Gpu(name="H100 NVL 94GB", total_gib=93.1, source=ASSUMED),
    "h20-96": Gpu(name="H20 96GB", total_gib=95.6, source="models.json, assumed"),
    "h20-141": Gpu(name="H20 141GB", total_gib=139.80, source="as H200, assumed"),
    "h800": Gpu(name="H800 80GB", total_gib=79.18, source="as H100, assumed"),
    "gh200-96": Gpu(name="GH200 96GB", total_gib=94.5, source="assumed"),
    "b200": Gpu(name="B200", total_gib=178.4, source="memory-reports.md, assumed"),
    "gb200": Gpu(name="GB200", total_gib=184.0, source="assumed"),
    "b300": Gpu(name="B300", total_gib=267.7, source="assumed"),
    "a100-80": Gpu(name="A100 80GB", total_gib=79.2, source="assumed"),
    "a100-40": Gpu(name="A100 40GB", total_gib=39.4, source="assumed"),
    "a800": Gpu(name="A800 80GB", total_gib=79.2, source="as A100, assumed"),
    "l40s": Gpu(name="L40S", total_gib=44.4, source="assumed"),
    "l40": Gpu(name="L40", total_gib=44.4, source="assumed"),
    "a6000": Gpu(name="RTX A6000", total_gib=47.4, source="assumed"),
    "l4": Gpu(name="L4", total_gib=22.0, source="assumed"),
    "a10g": Gpu(name="A10G", total_gib=22.0, source="assumed"),
    "rtx4090": Gpu(name="RTX 4090", total_gib=23.5, source="assumed"),
    "rtx4090-48": Gpu(name="RTX 4090 48GB", total_gib=47.4, source="assumed"),
    "rtx5090": Gpu(name="RTX 5090", total_gib=31.4, source="assumed"),
    "rtx-pro-6000": Gpu(name="RTX PRO 6000", total_gib=94.97, source="assumed"),
    "mi300x": Gpu(name="MI300X", total_gib=191.98, vendor="amd", source="memory-reports.md, assumed"),
    "mi325x": Gpu(name="MI325X", total_gib=255.98, vendor="amd", source="assumed"),
    "mi355x": Gpu(name="MI355X", total_gib=287.98, vendor="amd", source="assumed"),
}
ALIASES: Mapping[str, str] = {
    "h100-80": "h100",
    "h100-sxm": "h100",
    "h100-sxm5": "h100",
    "h100-pcie": "h100",
    "h100-hbm3": "h100",
    "h100-nvl": "h100-nvl-94",
    "h100-94": "h100-nvl-94",
    "h200-sxm": "h200",
    "h200-141": "h200",
    "h20": "h20-96",
    "gh200": "gh200-96",
    "a100": "a100-80",
    "a100-sxm4-80": "a100-80",
    "a100-sxm4-40": "a100-40",
    "a100-pcie-40": "a100-40",
    "rtx-4090": "rtx4090",
    "4090": "rtx4090",
    "rtx-4090-48": "rtx4090-48",
    "5090": "rtx5090",
    "rtx-5090": "rtx5090",
    "mi300": "mi300x",
}


def named(name: str, memory_gib: float | None = None) -> Gpu | None:
    """The product of that name ("h200", "NVIDIA H100 80GB HBM3"); a given memory decides between its sizes."""
    known = _known(name)
    if memory_gib is None:
        return known
    if known and abs(known.total_gib - memory_gib) < SAME_GIB:
        return known
    vendor = known.vendor if known else ("amd" if name.lower().startswith(("amd", "mi")) else "nvidia")
    return Gpu(name=known.name if known else name, total_gib=memory_gib, vendor=vendor, source="given")


def declared(name: str, memory_mib: int) -> Gpu:
    """The GPU that a fleet declares, its memory as nvidia-smi prints it: the product of that name and size.

    A name alone may stand for several sizes ("NVIDIA H100"); memory that none of them has is believed.
    """
    total = round(memory_mib / 1024 - RESERVED_GIB, 1)
    known = _known(name)
    if known is None:
        return of_memory(total)
    sizes = [gpu for gpu in GPUS.values() if _product(gpu) == _product(known)]
    near = min((known, *sizes), key=lambda gpu: abs(gpu.total_gib - total))
    if abs(near.total_gib - total) < SAME * near.total_gib:
        return near
    return Gpu(name=near.name, total_gib=total, vendor=near.vendor, source="given", usual_gib=near.total_gib)


def _product(gpu: Gpu) -> str:
    """Its name without its size: "H100" of "H100 NVL 94GB"."""
    return re.sub(r"( NVL)?( \d+GB)?$", "", gpu.name)


def of_memory(total_gib: float) -> Gpu:
    """A GPU of which only the memory is known; what torch reports of a product tells which it is."""
    for known in GPUS.values():
        if abs(known.total_gib - total_gib) < SAME_GIB:
            return Gpu(name=known.name, total_gib=total_gib, vendor=known.vendor, source="given")
    return Gpu(name=f"{total_gib:g} GiB", total_gib=total_gib, source="given")


def _known(name: str) -> Gpu | None:
    low = re.sub(r"[\s_]+", "-", name.lower().strip())
    low = re.sub(r"^(nvidia|amd|instinct)-", "", re.sub(r"^(nvidia|amd)-(instinct-)?(geforce-)?", "", low))
    low = re.sub(r"-(hbm3e?|hbm2e?|sxm5?|pcie)(?=-|$)", "", low)
    low = re.sub(r"(\d)gb?\b", r"\1", low)
    for word in (low, ALIASES.get(low, ""), ALIASES.get(low.replace("-sxm4", ""), "")):
        if word in GPUS:
            return GPUS[word]
    sized = re.fullmatch(r"(.+?)-?(\d{2,3})", low)  # l40s-48: the size that it is sold with
    base = GPUS.get(ALIASES.get(sized.group(1), sized.group(1))) if sized else None
    return base if base and sized and SOLD < base.total_gib / int(sized.group(2)) <= 1 else None
