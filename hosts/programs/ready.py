"""Asks a served model for a token, and waits for one while it tells the phase; standard library only, runs on the login host.

probe|wait STACK FOLDER PORT MODEL KEY_FILE TIMEOUT_S     `probe` prints `ready URL JOB`, `not ready: WHY` or `unknown: WHY`
self       STACK FOLDER PORT MODEL KEY_FILE TIMEOUT_S     inside the job: asks on loopback and writes FOLDER/ready.json
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

PROGRESS = "\x1f"
POLL_S = 1.0
NODE_PATIENCE_S = 60
PHASES = (
    (re.compile(r"^slipway: (.+)"), "{}"),
    (re.compile(r"Starting to load model|Initializing a V1 LLM engine"), "loading the engine"),
    (re.compile(r"Loading safetensors checkpoint shards:\s+(\d+)%"), "loading weights {} %"),
    (re.compile(r"Loading weights took ([\d.]+)"), "weights loaded in {} s"),
    (
        re.compile(
            r"Capturing CUDA graphs|torch\.compile|init engine|GPU KV cache size|CPU KV cache|# (?:CPU|GPU|cuda|cpu) blocks"
        ),
        "warming up",
    ),
    (re.compile(r"Application startup complete"), "waiting for the first token"),
)
FAILURE = re.compile(r"(?:ERROR|Traceback|Error:|error:|CUDA out of memory|slurmstepd: error|Killed|weights: )")
DEAD = re.compile(r"^\s*(?:raise |File |\^|~)")


def ask(url, model, key, timeout_s):
    """The number of tokens of one short completion. Raises OSError or ValueError with the reason."""
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            tokens = int(json.load(answer)["usage"]["completion_tokens"])
    except urllib.error.HTTPError as error:
        raise ValueError(f"HTTP {error.code}: {error.read(300).decode('utf-8', 'replace')}") from None
    if tokens < 1:
        raise ValueError("the completion has no token in it")
    return tokens


def jobs(stack):
    """[(id, state, node, reason)] of the stack's jobs, newest first; raises OSError where squeue fails."""
    command = ["squeue", "--noheader", "--states=all", f"--name=slipway-{stack}", "--format=%i|%T|%B|%r|%k"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise OSError(f"squeue failed: {done.stderr.strip()}")
    rows = [line.split("|", 4) for line in done.stdout.splitlines()]
    ours = [(r[0], r[1], r[2], r[3]) for r in rows if len(r) == 5 and f"slipway={stack}," in r[4]]
    return sorted(
        ours,
        key=lambda row: (row[1] in ("RUNNING", "PENDING", "CONFIGURING"), int(re.sub(r"\D.*", "", row[0]) or 0)),
        reverse=True,
    )


def key_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def log_of(folder, job):
    try:
        with open(f"{folder}/job-{job}.out", "rb") as file:
            file.seek(max(0, os.path.getsize(file.name) - (4 << 20)))
            return file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    except OSError:
        return []


def phase_of(lines):
    phase = "starting"
    for line in lines:
        for pattern, text in PHASES:
            found = pattern.search(line)
            if found:
                phase = text.format(*found.groups())
    return phase


def cause_of(lines):
    """The first failing rank's error: the last line of its first traceback, or the first line that says error; then the end."""
    for n, line in enumerate(lines):
        if FAILURE.search(line):
            block = lines[n : n + 60]
            last = [
                b
                for b in block
                if re.search(r"\w*(Error|Exception)\b.*:|out of memory|error:|weights: |slurmstepd", b)
                and not DEAD.search(b)
            ]
            return [*(last[:3] or block[:3]), "the log ends:", *lines[-5:]]
    return ["the log ends:", *lines[-8:]] if lines else ["its log is empty"]


def self_reported(folder, job):
    try:
        with open(f"{folder}/ready.json", encoding="utf-8") as file:
            return json.load(file).get("job") == job
    except (OSError, ValueError):
        return False


def look(stack, folder, port, model, key_file, timeout_s):
    """(verdict, text, job): verdict is ready, waiting, dead or none."""
    rows = jobs(stack)
    if not rows:
        return "none", "no job of this stack is in the queue", ""
    job, state, node, reason = rows[0]
    if state in ("PENDING", "CONFIGURING"):
        return "waiting", f"job {job} is queued: {reason}", job
    if state not in ("RUNNING", "SUSPENDED"):
        return "dead", f"job {job} is {state}", job
    url = f"http://{node}:{port}"
    try:
        ask(url, model, key_of(key_file), timeout_s)
        return "ready", f"{url} {job}", job
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "reason", None) or error
        refused = isinstance(why, ConnectionRefusedError)
        if not refused and isinstance(error, OSError) and self_reported(folder, job):
            return "ready", f"{url} {job}", job  # the fabric is closed to the login host; the job asked itself
        if not refused and isinstance(error, ValueError):
            return "waiting", f"job {job} on {node} answers {error}", job
        return "waiting", f"job {job} on {node}: {phase_of(log_of(folder, job))}", job


def probe(stack, folder, port, model, key_file, _timeout_s):
    try:
        verdict, text, _ = look(stack, folder, port, model, key_file, 20)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"unknown: {error}")
        return
    # ids and phases move while nothing changes: what a plan is re-checked against must not
    print(
        f"ready {text}"
        if verdict == "ready"
        else f"not ready: {'its job is dead' if verdict in ('dead', 'none') else 'starting'}"
    )


def wait(stack, folder, port, model, key_file, timeout_s):
    began = running_since = time.monotonic()
    shown, shown_at, missing_since = "", 0.0, None
    while True:
        now = time.monotonic()
        try:
            verdict, text, job = look(stack, folder, port, model, key_file, 60)
        except (OSError, subprocess.TimeoutExpired) as error:
            verdict, text, job = "unknown", str(error), ""
        if verdict == "ready":
            print(f"{PROGRESS}ready after {now - began:.0f} s: {text.split()[0]}", flush=True)
            return
        if verdict == "dead":
            sys.exit(
                "\n".join(
                    [
                        f"{text} before it was ready; the first error in {folder}/job-{job}.out:",
                        *cause_of(log_of(folder, job)),
                    ]
                )
            )
        missing_since = (missing_since or now) if verdict in ("none", "unknown") else None
        if missing_since and now - missing_since > NODE_PATIENCE_S:
            sys.exit(f"{text}, for {NODE_PATIENCE_S} s")
        if "queued" in text:
            running_since = now
        if now - running_since > float(timeout_s):
            sys.exit(
                "\n".join([f"no token {timeout_s} s after the job started: {text}", *cause_of(log_of(folder, job))])
            )
        if text != shown or now - shown_at > 10:
            print(f"{PROGRESS}{text} ({now - began:.0f} s)", flush=True)
            shown, shown_at = text, now
        time.sleep(POLL_S)


def ask_self(_stack, folder, port, model, key_file, timeout_s):
    end = time.monotonic() + float(timeout_s)
    while time.monotonic() < end:
        try:
            tokens = ask(f"http://127.0.0.1:{port}", model, key_of(key_file), 60)
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(POLL_S)
            continue
        with open(f"{folder}/ready.json.new", "w", encoding="utf-8") as file:
            json.dump({"job": os.environ.get("SLURM_JOB_ID", ""), "tokens": tokens}, file)
        os.replace(f"{folder}/ready.json.new", f"{folder}/ready.json")
        return


if __name__ == "__main__":
    {"probe": probe, "wait": wait, "self": ask_self}[sys.argv[1]](*sys.argv[2:])
