"""More time for the prolog to make room: an emulated machine drops page cache much slower than a real one."""

from __future__ import annotations

from .machine import EmulatedMachine

#: Seconds; on a host with two CPUs an emulated machine needs as many for what a real one does in one.
ENOUGH = 8.0

_SET_LIMIT = r"""cd $(dirname $(find / -xdev -path '*/process/make_room.py' | head -1)) || exit
sed -i 's/^LIMIT = .*$/LIMIT = {0}/' room.py && grep -q '^LIMIT = {0}$' room.py || exit
rm -f __pycache__/room.*"""

PROLOG_CONF = "/etc/numa-align/prolog.conf"


def set_limit(machine: EmulatedMachine, seconds: float) -> None:
    """Have the prolog make room for at most so long."""
    machine.run(_SET_LIMIT.format(float(seconds)), check=True)


def make_room_patiently(machine: EmulatedMachine) -> None:
    """Set the site's ``room=auto``, and the prolog's limit to what an emulated machine needs."""
    set_limit(machine, ENOUGH)
    machine.put({PROLOG_CONF: "room=auto\n"})
