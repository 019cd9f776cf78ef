"""The lab: a real cluster on one machine, as systemd containers that look like fresh servers (DESIGN.md 9).

nodes.py      what others call: up, down, status, exec, reboot, cut, heal
machine.py    one node: its disk, its start, when it is ready, its end
keep-node.sh  what stays alive beside a node and starts it again after a reboot
image.py      the image that all nodes share, cached; recipe.py says what is in it, rootfs/ is copied into it
packages.py   which Debian packages this machine and the image need; where this machine gets them from
network.py    bridge, forwarding, the firewall table; cut and heal
cgroups.py    a cgroup of its own for each node in every hierarchy
keys.py       the operator's key, the nodes' host keys, known_hosts
paths.py      where all of it lies; state.py what must be undone by `down`
host.py       commands on this machine; processes.py who is alive; locks.py one lab command at a time
prepare.py    what `make setup` calls; tasks.py the command line
"""
