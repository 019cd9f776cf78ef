"""Who runs Slipway, from where: the holder and backend that a claim names, and this user's folder of secrets. Pure."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

PROJECT = "slipway"


def backend(environ: Mapping[str, str], home: Path) -> str:
    """A hash of the Pulumi backend and project: claims of one backend are one owner's."""
    url = environ.get("PULUMI_BACKEND_URL", "")
    if not url:
        credentials = Path(environ.get("PULUMI_HOME", "") or home / ".pulumi") / "credentials.json"
        try:
            url = str(json.loads(credentials.read_text(encoding="utf-8"))["current"])
        except (OSError, ValueError, KeyError, TypeError):
            url = "https://api.pulumi.com"
    if url.startswith("file://"):  # a folder is one owner's only together with its machine
        url += "@" + machine_id()
    return hashlib.sha256(f"{url}\0{PROJECT}".encode()).hexdigest()[:16]


def machine_id() -> str:
    """systemd's id of this machine, "" where there is none."""
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def secrets_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Where secrets that we make are kept: one folder a fleet, files of mode 0600."""
    return Path(environ.get("XDG_CONFIG_HOME", "") or home / ".config") / "slipway" / "secrets"
