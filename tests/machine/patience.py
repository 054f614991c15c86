"""More time for the prolog to make room: an emulated machine drops page cache much slower than a real one."""

from __future__ import annotations

from .machine import EmulatedMachine

#: Has the prolog take eight seconds where it would take one.
_LONGER = r"""cd $(dirname $(find / -xdev -path '*/process/make_room.py' | head -1)) || exit
sed -i 's/^LIMIT = 1\.0$/LIMIT = 8.0/' room.py && grep -q '^LIMIT = 8.0$' room.py || exit
rm -f __pycache__/room.*"""

PROLOG_CONF = "/etc/numa-align/prolog.conf"


def make_room_patiently(machine: EmulatedMachine) -> None:
    """Set the site's ``room=auto``, and the prolog's limit to what an emulated machine needs."""
    machine.run(_LONGER, check=True)
    machine.put({PROLOG_CONF: "room=auto\n"})
