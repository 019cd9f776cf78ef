"""A SLURM job that is submitted once, is known by user and recorded id, and is gone only where something proves it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

from hosts.errors import Unknown
from hosts.resources.system import Requirement
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

TEST_TIMEOUT_S = 30


def job_name(stack: str) -> str:
    """The name of a stack's jobs. Anybody may give a job that name: it narrows a query, and identifies nothing."""
    return f"slipway-{stack}"


def queue(stack: str, folder: str, user: str) -> str:
    """Shell that defines `our_jobs [live]`: one line per job of the stack in the queue, with `live` without ended ones.

    The line is `job ID|STATE|NODE|GRES|NODES|ELAPSED|LIMIT|END|FINGERPRINT|REASON`. Where squeue fails, it is
    `failed WHY`, with status 1. The variables `token`, `id` and `born` are those of the intent, `uid` is the number of
    `user` ("": ourselves), "" where there is no such account.

    A job's name and comment are public, and anybody may copy them. So only jobs of our own user are read, and of these
    the one whose id or token the intent has recorded. Where the intent was lost, the tag in the comment counts together
    with the working directory, which is the job folder.
    """
    intent, ended = quote(f"{folder}/intent"), " | ".join(f"live:{state}" for state in sorted(ENDED))
    return f"""{PATH}
token= id= born=
uid=$(id -u {quote(user) if user else ""} 2>/dev/null) || uid=
[ ! -e {intent} ] || read -r token id born <{intent} || :
case $id in *[!0-9]*) id= ;; esac
our_jobs() {{
  local rows job state node gres nodes elapsed limit ends where text print
  [ -n "$uid" ] || return 0
  rows=$(squeue --noheader --states=all --user="$uid" --name={quote(job_name(stack))} \
    --format='%i|%T|%B|%b|%D|%M|%l|%e|%Z|%r|%k' 2>&1) || {{ printf 'failed %s\n' "$rows"; return 1; }}
  while IFS='|' read -r job state node gres nodes elapsed limit ends where text; do
    case $job in '' | *[!0-9]*) continue ;; esac
    case ${{1:-}}:$state in {ended}) continue ;; esac
    case "$job|,$text," in
      "$id|"* | *",intent=${{token:-none}},"*) ;;
      *) case "$where|$text" in {quote(folder)}"|"*{quote(f"slipway={stack},")}*) ;; *) continue ;; esac ;;
    esac
    print=${{text##*,fingerprint=}}
    [ "$print" != "$text" ] || print=
    printf 'job %s\n' "$job|$state|$node|$gres|$nodes|$elapsed|$limit|$ends|${{print%%,*}}|${{text%%|*}}"
  done <<<"$rows"
}}"""


def foreign(stack: str) -> str:
    """Shell that prints `foreign ID USER` for each job with the stack's name, ours included; 100 at most.

    It prints no text that a job's owner chose: a name or comment may hold newlines, and would print rows of its own.
    """
    return (
        f"squeue --noheader --name={quote(job_name(stack))} --format='foreign %i %u' 2>/dev/null | head -n 100 || true"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJob(Base):
    """The job of one stack: `<folder>/job.sbatch` submitted as `user` ("": ourselves), its comment the stack's tag.

    `folder` also holds the intent (written before the submission; the job's id and controller after it), each job's
    exit file (`exit-<id>`, written by the script itself) and its log. `completions` is the file of
    JobCompType=jobcomp/filetxt ("" where the site has none; then sacct is read).
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
        """The job's name."""
        return job_name(self.stack)

    @property
    def _queue(self) -> str:
        return queue(self.stack, self.folder, self.user)

    def accepted(self, script: str) -> Requirement:
        """Whether SLURM accepts this script as a job of ours; checked before anything is written or cancelled.

        Where the job with this fingerprint is in the queue already, the script is not submitted and not tested.
        """
        return Requirement(
            name="job-accepted",
            check=(
                f"{self._queue}\n"
                f"our_jobs live | grep -v '|COMPLETING|' | grep -qE '^job ([^|]*\\|){{8}}{self.fingerprint}\\|' && "
                "{ echo ok; exit 0; }\n"
                '[ -n "$uid" ] || { echo "no account ' + self.user + '"; exit 0; }\n'
                f"tested=$(printf '%s' {quote(script)} | {self._sbatch('--test-only')} 2>&1) && "
                "{ echo ok; exit 0; }\n"
                'case $? in 124) echo "no answer of sbatch --test-only within '
                f'{TEST_TIMEOUT_S} s" ;; *) printf \'%s\\n\' "$tested" | grep . | tail -n 1 ;; esac; exit 0'
            ),
            wanted="a job script that SLURM accepts (sbatch --test-only)",
            fix=(
                "nothing was changed, and a job of this stack that runs goes on; correct the stack file's launcher "
                "options (constraint, nodelist, partition, account, qos, time, mem, cpus), or where the queue counts "
                f"the running job against a limit, end that first: invoke teardown -s {self.stack}"
            ),
        )

    def _write(self, new: str, intent: str) -> str:
        """Shell that writes what it reads: as the folder's owner, who could lead root elsewhere by a link there."""
        return f"{self._as_user}tee -- {new} >/dev/null; {self._as_user}mv -fT -- {new} {intent}"

    @property
    def _as_user(self) -> str:
        return f"runuser -u {quote(self.user)} -- " if self.user else ""

    def _sbatch(self, *words: str) -> str:
        """The sbatch command line as the user that the job belongs to, less the script; its comment needs `$token`.

        The working directory identifies a job whose intent was lost, so the script has no say in it.
        """
        patience = f"timeout {TEST_TIMEOUT_S} " if "--test-only" in words else ""
        return (
            f"{self._as_user}{patience}sbatch {' '.join(words)} --no-requeue --job-name={quote(self.name)} "
            f"--chdir={quote(self.folder)} "
            f'--comment="slipway={self.stack},fingerprint={self.fingerprint},intent=$token"'
        )

    def probe(self) -> str:
        folder, completions = quote(self.folder), quote(self.completions)
        record = f"^JobId=$id UserId=[^ =]*[(]$uid[)] GroupId=[^=]* Name={self.name} JobState="
        return (
            f"{self._queue}\n"
            f'if [ -e {quote(f"{self.folder}/intent")} ]; then echo "intent ${{token:-?}} $id"; else echo intent\n'
            # no intent was ever written there, so nothing was submitted
            "command -v squeue >/dev/null || exit 0; fi\n"
            "listed=$(our_jobs) || { printf '%s\\n' \"$listed\"; exit 0; }\n"
            "printf '%s\\n' \"$listed\" | grep . | cut -d '|' -f 1,2,9\n"
            f'if [ -n "$id" ]; then if [ -e {folder}/exit-"$id" ]; then echo "ended its exit file"; '
            f'elif [ -n {completions} ] && grep -qs "{record}" {completions}; then echo "ended the completion log"; '
            f'elif [ -n "${{born:-}}" ] && now=$({BORN}) && [ -n "$now" ] && [ "$now" != "$born" ]; '
            'then echo "ended the controller, which was made anew since and has no jobs of before"; '
            'elif state=$(sacct -n -X -P -j "$id" --user="$uid" -o State 2>/dev/null) && [ -n "$state" ]; '
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
        """Cancels each live job of the stack by its id, and waits until the queue says that it ended."""
        return (
            f"{self._queue}\n"
            'live() { local listed; listed=$(our_jobs live) || { echo "squeue $listed" >&2; return 1; }; '
            "sed -n 's/^job \\([0-9]*\\)|.*/\\1/p' <<<\"$listed\"; }\n"
            f"ids=$(live); for id in $ids; do printf '{PROGRESS}cancelling job %s\\n' \"$id\"; "
            # one that ends by itself just now is an error of scancel; the queue tells whether it ended
            'scancel --user="$uid" -- "$id" || true; done\n'
            f'for _ in $(seq {CANCEL_TIMEOUT_S}); do ids=$(live); [ -n "$ids" ] || break; sleep 1; done\n'
            '[ -z "$ids" ] || { '
            f'echo "job $ids still runs {CANCEL_TIMEOUT_S} s after scancel; its node may be down (sinfo -R)"; '
            "exit 1; }"
        )

    def steps(self, actual: Self | None) -> Iterator[str]:
        intent, new = quote(f"{self.folder}/intent"), quote(f"{self.folder}/intent.new")
        script = quote(f"{self.folder}/job.sbatch")
        if actual is not None:
            # the requirement `accepted` came before; SLURM may have been changed since
            yield (
                f"{PATH}\ncd /; token=; {self._sbatch('--test-only')} {script} || "
                '{ echo "SLURM does not accept the new job, so the running one was not cancelled"; exit 1; }'
            )
            yield self._cancel()
        # The intent is on disk before sbatch runs. Whoever is killed in between leaves a token that no job carries: the
        # next run (under the same lock, so after this script has ended) finds either the job by its token, or none.
        yield f"read -r token </proc/sys/kernel/random/uuid; printf '%s\\n' \"$token\" | {self._write(new, intent)}"
        yield (
            f"{PATH}\n"
            # a new controller counts from 1 again, and what an older job of the same id left proves nothing of this one
            f"cd {quote(self.folder)}; rm -f -- exit-* ready.json; cd /; read -r token rest <{intent}\n"
            f"id=$({self._sbatch('--parsable')} {script})\n"
            f"id=${{id%%;*}}; printf '{PROGRESS}submitted job %s\\n' \"$id\"; "
            f'printf \'%s %s %s\\n\' "$token" "$id" "$({BORN})" | {self._write(new, intent)}'
        )

    def remove(self) -> Iterator[str]:
        yield self._cancel()
        yield f"rm -f -- {quote(f'{self.folder}/intent')} {quote(f'{self.folder}/intent.new')}"


class _Job(NamedTuple):
    """A row of the queue; `submitted` is the fingerprint in its comment."""

    id: str
    state: str
    submitted: str

    @property
    def fingerprint(self) -> str:
        """What the job was submitted with; one that is ending is none that anybody wants."""
        return f"(job {self.id} is ending)" if self.state == "COMPLETING" else self.submitted


def _has_ended(accounting: str) -> bool:
    """Whether what sacct calls the state (`FAILED`, `CANCELLED by 1000`) is one of a job that is over."""
    return accounting.partition(" ")[0].rstrip("+") in ENDED
