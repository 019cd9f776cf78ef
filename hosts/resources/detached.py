"""Long work on a host that outlives the connection: a transient systemd unit, followed, found again by the next run.

It carries the stack that started it in its environment as every process does (SLIPWAY_STACK), and the file of that
stack's claim on what it makes (SLIPWAY_CLAIM): claims of other stacks beside it keep the work going when the first
stack is torn down.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts.shell import PROGRESS, quote
from hosts.state import Base

END_S = 15
"""How long work has after SIGTERM before SIGKILL."""


def run_detached(name: str, command: str, log: str, claim: str = "") -> str:
    """Shell that starts `command` as unit `name` unless it runs, passes the log on as progress, and exits as it did.

    Where systemd can't be asked for a unit (no root), the command is started in a session of its own instead; a lock
    file beside the log, held for as long as the command lives, says in both cases whether it runs. The log lies in a
    trusted folder, and nobody else may open that file: who can read it can hold it, and would be waited for. `claim` is
    the file of the stack's claim on what is made, `<artifact>/<stack>` ("": nobody's).
    """
    unit, out = quote(f"{name}.service"), quote(log)
    held, ended = quote(f"{log}.running"), quote(f"{log}.exit")
    run = quote(f"{command}; echo $? >{ended}")
    tag = f"env {quote(f'SLIPWAY_STACK={_stack(claim)}')} {quote(f'SLIPWAY_CLAIM={claim}')} " if claim else ""
    return f"""
(umask 077; : >>{held}); chmod 0600 {held}
running() {{ systemctl is-active --quiet {unit} 2>/dev/null || ! flock -n {held} true; }}
if ! running; then
  rm -f {ended}; : >{out}
  if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl reset-failed {unit} 2>/dev/null || true
    systemd-run --quiet --collect --unit {unit} -p TimeoutStopSec={END_S} \
      -p StandardOutput=append:{out} -p StandardError=append:{out} {tag}flock {held} bash -c {run}
  else
    setsid {tag}flock {held} bash -c {run} >>{out} 2>&1 </dev/null &
    sleep 0.5
  fi
fi
while running; do
  printf '{PROGRESS}%s\\n' "$(tail -c 400 {out} | tr '\\r' '\\n' | tail -n 1 | tail -c 160)"
  sleep 1
done
if [ ! -e {ended} ]; then echo "it was ended from outside; the next run goes on from there"; tail -n 8 {out}; exit 1; fi
status=$(cat {ended}); rm -f {ended} {held}
[ "$status" = 0 ] || {{ tail -n 12 {out}; exit "$status"; }}
"""


def kept_by_others(stack: str) -> str:
    """Shell that defines `kept ENVIRON`: whether the process of that file in /proc works for another stack as well."""
    return f"""
claimed() {{ tr '\\0' '\\n' <"$1" 2>/dev/null | sed -n 's/^SLIPWAY_CLAIM=//p'; }}
kept() {{
  local claim; claim=$(claimed "$1") || return 1
  [ -n "$claim" ] || return 1
  [ -n "$(find "${{claim%/*}}" -mindepth 1 -maxdepth 1 ! -name {quote(stack)} ! -name '*.new' 2>/dev/null)" ]
}}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detached(Base):
    """The detached work that a stack alone wants, found by its environment; it is only ever taken away.

    Work that the stack started or claims is the stack's, unless another stack claims what it makes. What it has made
    so far stays, and the next run goes on from there.
    """

    kind: ClassVar[str] = "Detached"
    stack: str

    @property
    def key(self) -> str:
        return f"detached:{self.stack}"

    def _found(self) -> str:
        """Shell that defines `work`, which prints the ids of its processes; those of other accounts are not ours."""
        return f"""{kept_by_others(self.stack)}
ours() {{ [ "$(sed -n 's/^Uid:[[:space:]]*\\([0-9]*\\).*/\\1/p' "/proc/$1/status" 2>/dev/null)" = "$(id -u)" ]; }}
work() {{
  local e p claim
  # of ours alone: whoever wants can let who reads his environment wait for ever
  for e in $(printf '%s\\0' /proc/[0-9]*/status | xargs -0 grep -sHm1 '^Uid:' | tr '/:\\t' '   ' |
    awk -v me="$(id -u)" '$5 == me {{ print "/proc/" $2 "/environ" }}' | xargs -r grep -lsz '^SLIPWAY_CLAIM='); do
    p=${{e#/proc/}} p=${{p%/environ}}
    ours "$p" && ! kept "$e" || continue
    claim=$(claimed "$e") || continue
    if grep -qszxF -- {quote(f"SLIPWAY_STACK={self.stack}")} "$e" || [ -e "${{claim%/*}}"/{quote(self.stack)} ]; then
      echo "$p"
    fi
  done
}}"""

    def probe(self) -> str:
        return f'{self._found()}\n[ -z "$(work)" ] || echo runs'

    def parse(self, out: str) -> Self | None:
        return replace(self) if out.strip() else None

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        return iter(())

    def remove(self) -> Iterator[str]:
        # by process group: each was started in a session of its own, and what it runs without our environment is in it
        yield f"""{self._found()}
end() {{
  local p g
  for p in $(work); do
    g=$(ps -o pgid= -p "$p" | tr -d ' ') || continue
    kill -"$1" -- -"$g" 2>/dev/null || true
  done
}}
end TERM
for _ in $(seq {END_S * 5}); do [ -n "$(work)" ] || exit 0; sleep 0.2; done
end KILL
sleep 0.5
left=$(work)
[ -z "$left" ] || {{ echo "still runs after SIGKILL: pid" $left; exit 1; }}"""


def _stack(claim: str) -> str:
    return claim.rpartition("/")[2]
