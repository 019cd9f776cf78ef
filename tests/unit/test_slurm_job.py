"""What the probe of a job says: running, gone by proof, or unknown; never gone for lack of news."""

from dataclasses import replace

import pytest

from hosts.errors import Unknown
from hosts.resources import SlurmJob

JOB = SlurmJob(stack="k2", folder="/s/k2", fingerprint="0123456789abcdef", user="slipway", completions="/log")
OURS = "slipway=k2,fingerprint=0123456789abcdef,intent=u-1"
OLD = "slipway=k2,fingerprint=ffff000011112222,intent=u-0"

FOUND: list[tuple[str, str, SlurmJob | None]] = [
    ("never submitted", "intent\n", None),
    ("running", f"intent u-1 7\njob 7|RUNNING|{OURS}\n", JOB),
    ("queued", f"intent u-1 7\njob 7|PENDING|{OURS}\n", JOB),
    ("held", f"intent u-1 7\njob 7|REQUEUE_HOLD|{OURS}\n", JOB),
    ("suspended", f"intent u-1 7\njob 7|SUSPENDED|{OURS}\n", JOB),
    ("running, the intent cut before its id", f"intent u-1 \njob 7|RUNNING|{OURS}\n", JOB),
    ("running, the intent lost", f"intent\njob 7|RUNNING|{OURS}\n", JOB),
    ("running, the intent empty", f"intent ? \njob 7|RUNNING|{OURS}\n", JOB),
    ("of other settings", f"intent u-0 7\njob 7|RUNNING|{OLD}\n", replace(JOB, fingerprint="ffff000011112222")),
    ("without a fingerprint", "intent u-1 7\njob 7|RUNNING|slipway=k2,\n", replace(JOB, fingerprint="")),
    ("ending", f"intent u-1 7\njob 7|COMPLETING|{OURS}\n", replace(JOB, fingerprint="(job 7 is ending)")),
    (
        "two",
        f"intent u-1 8\njob 7|RUNNING|{OLD}\njob 8|PENDING|{OURS}\n",
        replace(JOB, fingerprint="(2 jobs: 7, 8)"),
    ),
    ("one, and one that ended", f"intent u-1 8\njob 7|CANCELLED|{OLD}\njob 8|RUNNING|{OURS}\n", JOB),
    ("one, and one of another stack", f"intent u-1 8\njob 7|RUNNING|slipway=k,x\njob 8|RUNNING|{OURS}\n", JOB),
    ("one, and somebody's of the same name", f"intent u-1 8\njob 7|RUNNING|(null)\njob 8|RUNNING|{OURS}\n", JOB),
    ("somebody's of the same name alone", "intent\njob 7|RUNNING|mine, hands off\njob 9|RUNNING|\n", None),
    ("of a stack whose name begins alike", "intent\njob 7|RUNNING|slipway=k2-big,fingerprint=0,intent=u\n", None),
    ("a bar in somebody's comment", f"intent u-1 8\njob 7|RUNNING|a|b\njob 8|RUNNING|{OURS}\n", JOB),
    ("a warning among the rows", f"intent u-1 7\njob squeue: warning: slow\njob 7|RUNNING|{OURS}\n", JOB),
    ("ended, still in the queue", f"intent u-1 7\njob 7|FAILED|{OURS}\n", None),
    ("ended by its exit file", "intent u-1 7\nended its exit file\n", None),
    ("ended by the completion log", "intent u-1 7\nended the completion log\n", None),
    ("ended by accounting", "intent u-1 7\naccounting TIMEOUT\n", None),
    ("cancelled by accounting", "intent u-1 7\naccounting CANCELLED by 64100\n", None),
    ("the queue is empty and nothing was submitted", "intent u-1 \n", None),
]


@pytest.mark.parametrize(("out", "expected"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
def test_found(out: str, expected: SlurmJob | None) -> None:
    assert JOB.parse(out) == expected


UNKNOWN: list[tuple[str, str, str]] = [
    (
        "not in the queue, and no proof",
        "intent u-1 7\n",
        "job 7 is not in the queue, and neither .*remove /s/k2/intent",
    ),
    ("another job's end is no proof", f"intent u-1 8\njob 7|FAILED|{OLD}\n", "job 8 is not in the queue"),
    ("running by accounting", "intent u-1 7\naccounting RUNNING\n", "job 7 is not in the queue"),
    ("requeued by accounting", "intent u-1 7\naccounting REQUEUED\n", "job 7 is not in the queue"),
    ("accounting that says nothing", "intent u-1 7\naccounting  \n", "job 7 is not in the queue"),
    (
        "no controller",
        "intent u-1 7\nfailed slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
        "squeue failed: slurm_load_jobs error: Unable to contact .*is slurmctld up",
    ),
    ("no controller, nothing submitted", "intent\nfailed bash: line 4: squeue: command not found\n", "squeue failed"),
    ("nothing printed", "", "its probe printed ''"),
    ("something else printed", "bash: /s/k2: Permission denied\n", "its probe printed 'bash: "),
]


@pytest.mark.parametrize(("out", "says"), [row[1:] for row in UNKNOWN], ids=[row[0] for row in UNKNOWN])
def test_unknown(out: str, says: str) -> None:
    """Blocks the stage: a job taken for gone would be submitted twice."""
    with pytest.raises(Unknown, match=says):
        JOB.parse(out)


def test_what_runs_is_cancelled_before_another_is_submitted() -> None:
    submit, resubmit = "\n".join(JOB.steps(None)), list(JOB.steps(replace(JOB, fingerprint="old")))
    assert "scancel" not in submit
    assert "scancel" in resubmit[0]
    assert "\n".join(resubmit[1:]) == submit
    assert submit.index("/proc/sys/kernel/random/uuid") < submit.index("sbatch --parsable"), "the intent comes first"
    assert "runuser -u slipway -- sbatch" in submit
    assert "runuser" not in "\n".join(replace(JOB, user="").steps(None))


def test_slurms_commands_are_found_where_sites_put_them() -> None:
    """In what asks, in what submits and in what cancels alike; no login shell sets PATH for us."""
    for text in (JOB.probe(), *JOB.steps(JOB), *JOB.remove()):
        for command in ("squeue ", "sbatch ", "scancel "):
            if command in text:
                assert text.startswith("export PATH=$PATH:/opt/slurm/bin:/usr/local/slurm/bin\n")
