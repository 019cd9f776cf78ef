"""Long work on a host that outlives the connection: a transient systemd unit, followed, found again by the next run."""

from hosts.shell import PROGRESS, quote


def run_detached(name: str, command: str, log: str) -> str:
    """Shell that starts `command` as unit `name` unless it runs, passes the log on as progress, and exits as it did.

    Where systemd can't be asked for a unit (no root), the command is started in a session of its own instead; a lock
    file beside the log, held for as long as the command lives, says in both cases whether it runs. The log lies in a
    trusted folder, and nobody else may open that file: who can read it can hold it, and would be waited for.
    """
    unit, out = quote(f"{name}.service"), quote(log)
    held, ended = quote(f"{log}.running"), quote(f"{log}.exit")
    run = quote(f"{command}; echo $? >{ended}")
    return f"""
(umask 077; : >>{held}); chmod 0600 {held}
running() {{ systemctl is-active --quiet {unit} 2>/dev/null || ! flock -n {held} true; }}
if ! running; then
  rm -f {ended}; : >{out}
  if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl reset-failed {unit} 2>/dev/null || true
    systemd-run --quiet --collect --unit {unit} -p StandardOutput=append:{out} -p StandardError=append:{out} \\
      flock {held} bash -c {run}
  else
    setsid flock {held} bash -c {run} >>{out} 2>&1 </dev/null &
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
