"""Where in a stack file the options of a rendered command come from, and how another one would be written there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hosts.problem import Problem
from infra.deployment import Deployment
from infra.flags.finding import Finding
from infra.flags.table import FlagTable

PARALLELISM: Mapping[str, tuple[str, ...]] = {
    "tensor": ("tensor-parallel-size", "tp-size", "tensor_parallel_size", "tp_size"),
    "pipeline": ("pipeline-parallel-size", "pp-size", "pipeline_parallel_size", "pp_size"),
    "data": ("data-parallel-size", "dp-size", "attn-dp-size", "enable-dp-attention", "data-parallel-size-local"),
    "expert": ("enable-expert-parallel", "ep-size", "expert-parallel-size", "moe_expert_parallel_size", "ep_size"),
    "decode_context": ("decode-context-parallel-size",),
}
"""The options that are rendered from a parallelism, by its keys."""
TOP: Mapping[str, str] = {
    "model": "$.model",
    "model-path": "$.model",
    "served-model-name": "$.model",
    "port": "$.port",
    "kt-weight-path": "$.experts",
    "speculative-draft-model-path": "$.draft",
    "distributed-executor-backend": "$.launcher.name",
    "nnodes": "$.launcher",
    "config": "$.engine.config",
    "extra_llm_api_options": "$.engine.config",
}
"""Where other options come from that Slipway sets itself."""
_WHOLE = frozenset(TOP) - {"served-model-name", "distributed-executor-backend"}
"""Those that can stand nowhere else."""
_OPTION = re.compile(r"(?<![\w-])(--[a-z][\w-]*)(?: (\d+)\b)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One role of a deployment, or all of it; `inside`: another engine runs in the role."""

    whole: Deployment
    deployment: Deployment
    role: str
    inside: bool

    @property
    def place(self) -> str:
        """Where it stands in the stack file."""
        return f"$.roles.{self.role}" if self.role else "$.engine"

    def variables(self) -> dict[str, str]:
        """The `$.path` of each variable that the stack file gives to the engine."""
        role = next((one for one in self.whole.roles if one.name == self.role), None)
        own = role.env if role else {}
        return {
            name: f"{self.place}.env.{name}" if name in own else f"$.engine.env.{name}" for name in self.deployment.env
        }

    def of(self, option: str) -> str:
        """The `$.path` that an option of the rendered command comes from."""
        role = next((one for one in self.whole.roles if one.name == self.role), None)
        key = next((key for key, names in PARALLELISM.items() if option in names), "")
        if role and option in role.args:
            return f"{self.place}.args.{option}"
        if option in self.deployment.args and not self.inside:
            return f"$.engine.args.{option}"
        if key:
            return f"{self.place}.parallelism.{key}" if role else f"$.parallelism.{key}"
        return self.place if self.inside else TOP.get(option, "$.engine.release" if option else self.place)

    def told(self, finding: Finding, table: FlagTable) -> Problem:
        """The problem with a fix in the words of the stack file: `add --x 1` is `add engine.args.x: 1`."""
        problem, fix = finding.problem, finding.problem.fix
        if not fix or self.inside:  # an engine in a role of another has no lines there
            return problem
        for words in finding.edit.add if finding.edit else ():
            fix = fix.replace(" ".join(words), self._line(words, table))
        return replace(problem, fix=_OPTION.sub(lambda found: self._line(found[0].split(), table, named=True), fix))

    def _line(self, words: Sequence[str], table: FlagTable, *, named: bool = False) -> str:
        """An option and its value as a line of the stack file; `named`: without a value, its key alone."""
        name = table.spellings.get(words[0])
        if name is None:
            return " ".join(words)
        key, value = self._key(name.removeprefix("--")), " ".join(words[1:])
        size = ".parallelism." in f".{key}"
        if words[0] in table.flags[name].negative:
            value = "false"
        elif key.endswith("parallelism.expert") or not (value or named or size):
            value = "true"  # of expert parallelism, however many ranks the engine is told
        return f"{key}: {value}" if value else key

    def _key(self, option: str) -> str:
        """Where an option stands or would stand."""
        own = any(option in names for names in PARALLELISM.values()) or option in _WHOLE
        if own or option in self.deployment.args:
            return self.of(option).removeprefix("$.")
        return f"{self.place}.args.{option}".removeprefix("$.")
