"""What a host should have: each role takes a host and a few keywords and returns resources; templates lie beside."""

import shlex
from pathlib import Path

import jinja2

HERE = Path(__file__).parent
FOLDERS = (HERE / "templates", HERE.parent / "slurm")

_environment = jinja2.Environment(  # noqa: S701 - it renders configuration and shell, which quote with `sh`, no HTML
    loader=jinja2.FileSystemLoader(FOLDERS),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_environment.filters["sh"] = shlex.quote


def render(name: str, /, **context: object) -> str:
    """The text of a template of `roles/templates` or `slurm`; a name that it asks for and nobody gave is an error."""
    return _environment.get_template(name).render(context)
