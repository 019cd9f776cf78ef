#!/bin/sh
# Keeps one lab node running: starts it, and starts it again when it reboots (systemd-nspawn then ends with 133).
# usage: keep-node.sh NAME IMAGE DISK PIDFILE CGROUPS BIND...
#   IMAGE    the shared lower folder     DISK   the node's own: upper, work, root
#   PIDFILE  gets "pid start-time" of this shell, which is how others end it
#   CGROUPS  folders, one a line, that the node goes into; none where systemd has put us in a scope
# Runs in a mount namespace of its own, so that the overlay and systemd-nspawn's traces in /run end with it.
set -eu
umask 022
name=$1 image=$2 disk=$3 pidfile=$4 groups=$5
shift 5
started=$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f20)
echo "$$ $started" >"$pidfile.new"
mv "$pidfile.new" "$pidfile"

for group in $(echo "$groups" | sed 's|/[^/]*$|/keepers|' | tr '\n' ' '); do
    mkdir -p "$group"
    for setting in cpuset.cpus cpuset.mems; do
        if [ -f "$group/$setting" ]; then cat "$group/../$setting" >"$group/$setting"; fi
    done
    echo $$ >"$group/cgroup.procs"
done

mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$disk/upper" "$disk/work" "$disk/root"
mount -n -t overlay "lab-$name" -o "lowerdir=$image,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"

while :; do
    code=0
    # The new shell moves itself into the node's groups, then becomes systemd-nspawn.
    sh -c '
        for group in $1; do echo $$ >"$group/cgroup.procs"; done
        shift
        exec systemd-nspawn "$@"
    ' sh "$groups" --quiet --register=no --keep-unit --boot --console=read-only \
        --machine="slw-$name" --directory="$disk/root" --resolv-conf=off --timezone=off --link-journal=no \
        --network-bridge=slipway0 --capability=all \
        --system-call-filter="@system-service @keyring @mount @resources @debug bpf" "$@" || code=$?
    echo "keep-node: systemd-nspawn of $name ended with $code"
    [ "$code" = 133 ] || exit "$code"
    # What the last boot left in the node's groups would fail units of the next one with 219/CGROUP.
    for group in $groups; do find "$group" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true; done
done
