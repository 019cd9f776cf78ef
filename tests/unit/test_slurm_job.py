"""What the probe of a job says: running, gone by proof, or unknown; never gone for lack of news."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.errors import Unknown
from hosts.resources import SlurmJob
from hosts.resources.slurm_job import foreign, queue
from hosts.shell import PROGRESS
from tests.unit.fake_slurm import Job, Slurm, own, theirs

JOB = SlurmJob(stack="k2", folder="/s/k2", fingerprint="0123456789abcdef", user="slipway", completions="/log")
OURS, OLD = "0123456789abcdef", "ffff000011112222"

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
    ("without a fingerprint", "intent u-1 7\njob 7|RUNNING|\n", replace(JOB, fingerprint="")),
    ("ending", f"intent u-1 7\njob 7|COMPLETING|{OURS}\n", replace(JOB, fingerprint="(job 7 is ending)")),
    (
        "two",
        f"intent u-1 8\njob 7|RUNNING|{OLD}\njob 8|PENDING|{OURS}\n",
        replace(JOB, fingerprint="(2 jobs: 7, 8)"),
    ),
    ("one, and one that ended", f"intent u-1 8\njob 7|CANCELLED|{OLD}\njob 8|RUNNING|{OURS}\n", JOB),
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
    assert "--test-only" in resubmit[0]
    assert "scancel" in resubmit[1]
    assert "\n".join(resubmit[2:]) == submit
    assert submit.index("/proc/sys/kernel/random/uuid") < submit.index("sbatch --parsable"), "the intent comes first"
    assert "runuser -u slipway -- sbatch" in submit
    assert "runuser" not in "\n".join(replace(JOB, user="").steps(None))


def test_slurms_commands_are_found_where_sites_put_them() -> None:
    """In what asks, in what submits and in what cancels alike; no login shell sets PATH for us."""
    for text in (JOB.probe(), JOB.accepted("").check, *JOB.steps(JOB), *JOB.remove()):
        for command in ("squeue ", "sbatch ", "scancel "):
            if command in text:
                assert text.startswith("export PATH=$PATH:/opt/slurm/bin:/usr/local/slurm/bin\n")


TAG = f"slipway=k2,fingerprint={OURS},intent=u-1"
FOLDER = "FOLDER"
"""In place of the job's folder, which is another in each test."""
QUEUES: list[tuple[str, str, list[Job], list[str]]] = [
    ("the recorded id", "u-1 7", [own("7", TAG, FOLDER)], ["7"]),
    ("the recorded token", "u-1", [own("7", TAG, "/elsewhere")], ["7"]),
    ("the intent lost", "", [own("7", TAG, FOLDER)], ["7"]),
    ("the intent empty", "\n", [own("7", TAG, FOLDER)], ["7"]),
    ("a comment that the site has extended", "u-1", [own("7", f"site|{TAG},more", "/elsewhere")], ["7"]),
    ("the id, and a comment that the site has replaced", "u-1 7", [own("7", "(null)", FOLDER)], ["7"]),
    ("two", "u-1 8", [own("7", TAG.replace("u-1", "u-0"), FOLDER), own("8", TAG, FOLDER)], ["7", "8"]),
    ("another user's with our comment", "u-1 7", [own("7", TAG, FOLDER), theirs("8", TAG, FOLDER)], ["7"]),
    ("another user's alone, with our token and folder", "u-1 7", [theirs("8", TAG, FOLDER)], []),
    ("another user's with the recorded id", "u-1 7", [theirs("7", TAG, FOLDER)], []),
    (
        "another user's whose comment prints a row of ours",
        "u-1 7",
        [theirs("8", f"x\n7|RUNNING|evil|{TAG}", FOLDER)],
        [],
    ),
    ("our user's of another folder", "u-1 7", [own("9", TAG.replace("u-1", "u-9"), "/other/k2")], []),
    ("our user's of a longer name", "", [own("9", TAG.replace("k2", "k2-big"), FOLDER)], []),
    ("our user's by hand", "u-1 7", [own("9", "mine, hands off", FOLDER)], []),
    ("an intent that is none", "x; touch /tmp/y ../7 z", [own("7", "(null)", "/elsewhere")], []),
]


def prepared(tmp_path: Path, intent: str, jobs: list[Job]) -> tuple[Slurm, SlurmJob]:
    """A cluster with these jobs, and the stack's job whose folder has this intent ("": none)."""
    folder = tmp_path / "job folder"
    folder.mkdir()
    jobs = copy.deepcopy(jobs)
    if intent:
        (folder / "intent").write_text(f"{intent}\n")
    for job in jobs:
        job["folder"] = job["folder"].replace(FOLDER, str(folder))
    slurm = Slurm(tmp_path, *jobs)
    return slurm, replace(JOB, folder=str(folder), user="", completions="")


@pytest.mark.parametrize(("intent", "jobs", "ours"), [row[1:] for row in QUEUES], ids=[row[0] for row in QUEUES])
def test_whose_job_it_is(intent: str, jobs: list[Job], ours: list[str], tmp_path: Path) -> None:
    slurm, it = prepared(tmp_path, intent, jobs)
    rows = slurm.out(f"{queue(it.stack, it.folder, it.user)}\nour_jobs").splitlines()
    assert [row.split("|")[0] for row in rows] == [f"job {number}" for number in ours]
    assert "evil" not in "".join(rows)
    assert all(row.count("|") == 9 for row in rows)


@pytest.mark.parametrize(("intent", "jobs", "ours"), [row[1:] for row in QUEUES], ids=[row[0] for row in QUEUES])
def test_only_our_jobs_are_cancelled(intent: str, jobs: list[Job], ours: list[str], tmp_path: Path) -> None:
    slurm, it = prepared(tmp_path, intent, jobs)
    done = slurm.run("\n".join(it.remove()), options="set -euo pipefail")
    assert (done.returncode, done.stdout) == (0, "".join(f"{PROGRESS}cancelling job {n}\n" for n in ours))
    assert {number for number, state in slurm.states.items() if state == "CANCELLED"} == {*ours}


def test_a_foreign_job_does_not_stand_for_ours(tmp_path: Path) -> None:
    """Neither as the job that runs, nor as proof that ours has ended, nor as a second one."""
    foreign_alone = [theirs("8", TAG, FOLDER)]
    slurm, it = prepared(tmp_path, "u-1 7", foreign_alone)
    with pytest.raises(Unknown, match="job 7 is not in the queue"):
        it.parse(slurm.out(it.probe()))
    slurm.jobs = [own("7", TAG, it.folder), *foreign_alone]
    assert it.parse(slurm.out(it.probe())) == it
    slurm.jobs = [own("7", TAG, it.folder, state="FAILED"), *foreign_alone]
    assert it.parse(slurm.out(it.probe())) is None


def test_the_probe_prints_the_same_for_the_same_state(tmp_path: Path) -> None:
    slurm, it = prepared(tmp_path, "u-1 7", [own("7", TAG, FOLDER)])
    assert slurm.out(it.probe()) == f"intent u-1 7\njob 7|RUNNING|{OURS}\n"


def test_a_queue_that_can_not_be_read(tmp_path: Path) -> None:
    slurm, it = prepared(tmp_path, "u-1 7", [])
    slurm.stop()
    with pytest.raises(Unknown, match="squeue failed: slurm_load_jobs error: Unable to contact"):
        it.parse(slurm.out(it.probe()))
    done = slurm.run("\n".join(it.remove()), options="set -euo pipefail")
    assert done.returncode != 0
    assert "Unable to contact" in done.stdout


def test_without_slurm_and_without_an_intent_there_is_no_job(tmp_path: Path) -> None:
    """What a first `up` wrote that failed before the cluster stood can be taken away again."""
    it = replace(JOB, folder=str(tmp_path), user="", completions="")
    slurm = Slurm(tmp_path)
    (slurm.folder / "squeue").unlink()
    assert it.parse(slurm.out(it.probe())) is None
    (tmp_path / "intent").write_text("u-1 7\n")
    with pytest.raises(Unknown, match="squeue failed"):
        it.parse(slurm.out(it.probe()))


def test_the_completion_log_is_read_at_our_users_lines_alone(tmp_path: Path) -> None:
    slurm, it = prepared(tmp_path, "u-1 7", [])
    it = replace(it, completions=str(tmp_path / "log"))
    line = "JobId=7 UserId={} GroupId=g(1) Name={} JobState=COMPLETED Partition=gpu\n"
    us = slurm.out("printf '%s(%s)' $(id -un) $(id -u)")
    for user, name in (("mallory(64999)", "slipway-k2"), (us, "slipway-k2-big"), (us, "x Name=slipway-k2")):
        (tmp_path / "log").write_text(line.format(user, name))
        with pytest.raises(Unknown):
            it.parse(slurm.out(it.probe()))
    (tmp_path / "log").write_text(line.format(us, "slipway-k2"))
    assert it.parse(slurm.out(it.probe())) is None


def test_look_alikes_are_listed_without_what_their_owner_wrote(tmp_path: Path) -> None:
    slurm, it = prepared(tmp_path, "", [theirs("8", "x\nforeign 9 root", FOLDER)])
    assert slurm.out(f"{queue(it.stack, it.folder, '')}\n{foreign(it.stack)}") == "foreign 8 mallory\n"


REFUSED, TAKEN = "#!/bin/bash\n#SBATCH --constraint=h200\n", "#!/bin/bash\n# starts later, since all nodes are busy\n"


def test_a_script_that_slurm_refuses_is_found_before_anything_is_written(tmp_path: Path) -> None:
    slurm, it = prepared(tmp_path, "u-0 7", [own("7", TAG.replace(OURS, OLD), FOLDER)])
    for script, found in ((REFUSED, "allocation failure: Invalid feature specification"), (TAKEN, "")):
        need = it.accepted(script)
        seen = need.parse(slurm.out(need.check))
        assert seen is not None
        assert seen.found == found
    assert slurm.states == {"7": "RUNNING"}


def test_a_job_that_is_wanted_and_runs_is_not_tested_again(tmp_path: Path) -> None:
    slurm, it = prepared(tmp_path, "u-1 7", [own("7", TAG, FOLDER)])
    assert slurm.out(it.accepted(REFUSED).check) == "ok\n"
    assert slurm.asked == ["squeue"]
    for state in ("COMPLETING", "FAILED"):
        slurm.jobs = [own("7", TAG, it.folder, state=state)]
        assert "Invalid feature" in slurm.out(it.accepted(REFUSED).check)
    slurm.jobs = [theirs("7", TAG, it.folder)]
    assert "Invalid feature" in slurm.out(it.accepted(REFUSED).check)


@pytest.mark.parametrize(
    ("script", "states"), [(REFUSED, {"7": "RUNNING"}), (TAKEN, {"7": "CANCELLED", "50": "PENDING"})]
)
def test_what_runs_ends_only_where_its_replacement_is_accepted(
    script: str, states: dict[str, str], tmp_path: Path
) -> None:
    slurm, it = prepared(tmp_path, "u-0 7", [own("7", TAG.replace(OURS, OLD), FOLDER)])
    Path(it.folder, "job.sbatch").write_text(script)
    done = slurm.run("\n".join(it.steps(replace(it, fingerprint=OLD))), options="set -euo pipefail")
    assert slurm.states == states
    assert ("was not cancelled" in done.stdout) == (done.returncode != 0) == ("50" not in states)
    if "50" in states:
        assert it.parse(slurm.out(it.probe())) == it
