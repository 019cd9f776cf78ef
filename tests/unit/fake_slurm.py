"""A queue of jobs of several users, with squeue, scancel and sbatch on PATH; real programs that know no other cluster.

As SLURM does, they show everybody's jobs unless a query names a user, print names and comments as their owners wrote
them, and let root cancel any job.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import TypedDict

SQUEUE = r"""#!/usr/bin/env python3
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
with (folder / "asked").open("a") as log:
    log.write("squeue\n")
if (folder / "down").exists():
    sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
options = dict((word.split("=", 1) + [""])[:2] for word in sys.argv[1:])
ended = ("CANCELLED", "COMPLETED", "FAILED")
for job in json.loads((folder / "queue").read_text()):
    if job["name"] != options.get("--name", job["name"]):
        continue
    if options.get("--user", job["user"]) not in (job["user"], job["uid"]):
        continue
    if job["state"] in ended and options.get("--states") != "all":
        continue
    values = {"i": job["id"], "T": job["state"], "u": job["user"], "B": job["node"], "Z": job["folder"],
              "k": job["comment"], "r": job["reason"], "b": "gres/gpu:8", "D": "1", "M": "2:00", "l": "1:00:00",
              "e": "N/A", "N": job["node"]}
    text, row = options["--format"], ""
    while text:
        head, _, text = text.partition("%")
        row += head + (values[text[0]] if text else "")
        text = text[1:]
    print(row)
"""
SCANCEL = r"""#!/usr/bin/env python3
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
options = dict((word.split("=", 1) + [""])[:2] for word in sys.argv[1:] if word.startswith("--"))
jobs = json.loads((folder / "queue").read_text())
for job in jobs:
    whose = options.get("--user", job["user"]) in (job["user"], job["uid"])
    if whose and (job["id"] in sys.argv[1:] or job["name"] == options.get("--name")):
        job["state"] = "CANCELLED"
(folder / "queue").write_text(json.dumps(jobs))
"""
SBATCH = r"""#!/usr/bin/env python3
import json, os, pathlib, pwd, sys
folder = pathlib.Path(__file__).parent
options = dict((word.split("=", 1) + [""])[:2] for word in sys.argv[1:] if word.startswith("--"))
files = [word for word in sys.argv[1:] if not word.startswith("--")]
script = pathlib.Path(files[0]).read_text() if files else sys.stdin.read()
with (folder / "asked").open("a") as log:
    log.write("sbatch" + " --test-only" * ("--test-only" in options) + "\n")
if "--constraint=h200" in script:
    sys.exit("allocation failure: Invalid feature specification")
if "--test-only" in options:
    print("sbatch: Job 99 to start at 2026-11-30T00:00:00", file=sys.stderr)
    sys.exit(0)
jobs = json.loads((folder / "queue").read_text())
user = pwd.getpwuid(os.getuid())
jobs.append(
    {"id": "50", "uid": str(user.pw_uid), "user": user.pw_name, "name": options["--job-name"], "state": "PENDING",
     "node": "", "reason": "Priority", "folder": options["--chdir"], "comment": options["--comment"]}
)
(folder / "queue").write_text(json.dumps(jobs))
print("50")
"""


class Job(TypedDict):
    """One job of the queue, as its owner and SLURM have it."""

    id: str
    uid: str
    user: str
    name: str
    state: str
    node: str
    reason: str
    folder: str
    comment: str


def own(number: str, comment: str, folder: str, *, state: str = "RUNNING", name: str = "slipway-k2") -> Job:
    """A job of whoever runs the test."""
    return Job(
        id=number,
        uid=str(os.getuid()),
        user="us",
        name=name,
        state=state,
        node="n1",
        reason="None",
        folder=folder,
        comment=comment,
    )


def theirs(number: str, comment: str, folder: str, *, state: str = "RUNNING", name: str = "slipway-k2") -> Job:
    """The same of another user, on a node of his choice."""
    job = own(number, comment, folder, state=state, name=name)
    return {**job, "uid": "64999", "user": "mallory", "node": "evil"}


class Slurm:
    """A cluster in a folder: shell that runs there finds its commands."""

    def __init__(self, folder: Path, *jobs: Job) -> None:
        self.folder = folder / "slurm"
        self.folder.mkdir()
        for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL), ("sbatch", SBATCH)):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)
        (self.folder / "asked").touch()
        self.jobs = list(jobs)

    @property
    def jobs(self) -> list[Job]:
        """What is in the queue."""
        found: list[Job] = json.loads((self.folder / "queue").read_text())
        return found

    @jobs.setter
    def jobs(self, jobs: list[Job]) -> None:
        (self.folder / "queue").write_text(json.dumps(jobs))

    @property
    def states(self) -> dict[str, str]:
        """The state of each job by its id."""
        return {job["id"]: job["state"] for job in self.jobs}

    @property
    def asked(self) -> list[str]:
        """Which commands were run, in order."""
        return (self.folder / "asked").read_text().splitlines()

    def stop(self) -> None:
        """The controller answers no more."""
        (self.folder / "down").touch()

    @property
    def path(self) -> str:
        """PATH with its commands."""
        return f"{self.folder}:{os.environ['PATH']}"

    def run(self, shell: str, *, options: str = "") -> subprocess.CompletedProcess[str]:
        """Runs shell as a script on the login host runs it."""
        return subprocess.run(
            ["bash", "-c", f"{options}\n( {shell}\n) </dev/null 2>&1"],
            env={"PATH": self.path, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )

    def out(self, shell: str) -> str:
        """What a probe prints."""
        done = self.run(shell)
        assert done.returncode == 0, done.stdout
        return done.stdout
