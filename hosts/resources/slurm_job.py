"""A SLURM job that is submitted exactly once, is known by its tag, and is gone only where something proves it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

from hosts.errors import Unknown
from hosts.shell import PROGRESS, quote
from hosts.state import Base

ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "SPECIAL_EXIT",
        "TIMEOUT",
    }
)
CANCEL_TIMEOUT_S = 90
PATH = "export PATH=$PATH:/opt/slurm/bin:/usr/local/slurm/bin"
"""Where sites put SLURM's commands; a script over SSH has no login shell's PATH."""

BORN = "stat -c %W-%i /var/lib/slurm/slurmctld/clustername 2>/dev/null || true"
"""Shell that prints which controller this is, on a cluster of ours: one that was set up anew knows no older job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJob(Base):
    """The job of one stack: `<folder>/job.sbatch` submitted as `user` ("": ourselves), its comment the stack's tag.

    `folder` also holds the intent (written before the submission; the job's id and controller after it), each job's
    exit file (`exit-<id>`, written by the script itself) and its log. `completions` is the file of
    JobCompType=jobcomp/filetxt ("" where the site has none; then sacct is asked).
    """

    kind: ClassVar[str] = "SlurmJob"
    stack: str
    folder: str
    fingerprint: str
    user: str = ""
    completions: str = ""

    @property
    def key(self) -> str:
        return f"slurm-job:{self.name}"

    @property
    def name(self) -> str:
        """The job's name: the tag in a form that every SLURM command can ask for."""
        return f"slipway-{self.stack}"

    def _listing(self) -> str:
        return f"squeue --noheader --states=all --name={quote(self.name)} --format='%i|%T|%k'"

    def probe(self) -> str:
        intent, folder = quote(f"{self.folder}/intent"), quote(self.folder)
        completions = quote(self.completions)
        return (
            f"{PATH}\n"
            f'if [ -e {intent} ]; then read -r token id born <{intent}; echo "intent ${{token:-?}} ${{id:-}}"; '
            "else echo intent; id=; fi\n"
            f'if ! listed=$({self._listing()} 2>&1); then echo "failed $listed"; exit 0; fi\n'
            "printf '%s\\n' \"$listed\" | grep . | sed 's/^/job /'\n"
            f'if [ -n "$id" ]; then if [ -e {folder}/exit-"$id" ]; then echo "ended its exit file"; '
            f'elif [ -n {completions} ] && grep -qs "^JobId=$id " {completions}; then echo "ended the completion log"; '
            f'elif [ -n "${{born:-}}" ] && now=$({BORN}) && [ -n "$now" ] && [ "$now" != "$born" ]; '
            'then echo "ended the controller, which was made anew since and has no jobs of before"; '
            'elif state=$(sacct -n -X -P -j "$id" -o State 2>/dev/null) && [ -n "$state" ]; '
            'then echo "accounting $state"; fi; fi; exit 0'
        )

    def parse(self, out: str) -> Self | None:
        said = [(word, rest) for word, _, rest in (line.partition(" ") for line in out.splitlines())]
        for word, rest in said:
            if word == "failed":
                raise Unknown(f"squeue failed: {rest}; is slurmctld up? (systemctl status slurmctld on the controller)")
        intents = [rest.split() for word, rest in said if word == "intent"]
        if not intents:
            raise Unknown(f"its probe printed {out[:200]!r}")
        jobs = [_Job(*[*rest.split("|", 2), "", ""][:3]) for word, rest in said if word == "job"]
        jobs = [job for job in jobs if f"slipway={self.stack}," in job.comment]
        active = [job for job in jobs if job.state not in ENDED]
        if len(active) > 1:
            return replace(self, fingerprint=f"({len(active)} jobs: {', '.join(job.id for job in active)})")
        if active:
            return replace(self, fingerprint=active[0].fingerprint)
        ended = any(word == "ended" or (word == "accounting" and _has_ended(rest)) for word, rest in said)
        for job in intents[0][1:2]:
            if not ended and job not in {listed.id for listed in jobs}:
                raise Unknown(
                    f"job {job} is not in the queue, and neither its exit file, the completion log nor accounting says "
                    f"that it ended; look with `scontrol show job {job}`, and where it is really gone "
                    f"remove {self.folder}/intent"
                )
        return None

    def _cancel(self) -> str:
        """Cancels every live job with our tag and waits until the queue says that it ended."""
        return (
            f"{PATH}\n"
            f"live() {{ squeue --noheader --name={quote(self.name)} --format='%i|%k' | "
            f"sed -n 's/|.*slipway={self.stack},.*//p'; }}\n"
            f'ids=$(live); for id in $ids; do printf \'{PROGRESS}cancelling job %s\\n\' "$id"; scancel -- "$id"; done\n'
            f'for _ in $(seq {CANCEL_TIMEOUT_S}); do ids=$(live); [ -n "$ids" ] || break; sleep 1; done\n'
            '[ -z "$ids" ] || { '
            f'echo "job $ids still runs {CANCEL_TIMEOUT_S} s after scancel; its node may be down (sinfo -R)"; '
            "exit 1; }"
        )

    def steps(self, actual: Self | None) -> Iterator[str]:
        intent, new = quote(f"{self.folder}/intent"), quote(f"{self.folder}/intent.new")
        if actual is not None:
            yield self._cancel()
        as_user = f"runuser -u {quote(self.user)} -- " if self.user else ""
        # The intent is on disk before sbatch runs. Whoever is killed in between leaves a token that no job carries: the
        # next run (under the same lock, so after this script has ended) finds either the job by its tag, or none.
        yield f"read -r token </proc/sys/kernel/random/uuid; printf '%s\\n' \"$token\" >{new}; mv -fT {new} {intent}"
        yield (
            f"{PATH}\n"
            # a new controller counts from 1 again, and what an older job of the same id left proves nothing of this one
            f"cd {quote(self.folder)}; rm -f -- exit-* ready.json; cd /; read -r token rest <{intent}\n"
            f"id=$({as_user}sbatch --parsable --no-requeue --job-name={quote(self.name)} "
            f'--comment="slipway={self.stack},fingerprint={self.fingerprint},intent=$token" '
            f"{quote(f'{self.folder}/job.sbatch')})\n"
            f"id=${{id%%;*}}; printf '{PROGRESS}submitted job %s\\n' \"$id\"; "
            f'printf \'%s %s %s\\n\' "$token" "$id" "$({BORN})" >{new}; mv -fT {new} {intent}'
        )

    def remove(self) -> Iterator[str]:
        yield self._cancel()
        yield f"rm -f -- {quote(f'{self.folder}/intent')} {quote(f'{self.folder}/intent.new')}"


class _Job(NamedTuple):
    """A row of the queue."""

    id: str
    state: str
    comment: str

    @property
    def fingerprint(self) -> str:
        """What the job was submitted with; one that is ending is none that anybody wants."""
        if self.state == "COMPLETING":
            return f"(job {self.id} is ending)"
        return self.comment.partition(",fingerprint=")[2].partition(",")[0]


def _has_ended(accounting: str) -> bool:
    """Whether what sacct calls the state (`FAILED`, `CANCELLED by 1000`) is one of a job that is over."""
    return accounting.partition(" ")[0].rstrip("+") in ENDED
