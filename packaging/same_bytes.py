"""Packs a .tar.gz again so that the same files give the same bytes: sorted, of nobody, of one time.

    SOURCE_DATE_EPOCH=SECONDS python3 packaging/same_bytes.py FILE.tar.gz

setuptools writes the time of the call into the archive of the sources.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
from pathlib import Path


def pack_again(path: Path, seconds: int) -> None:
    """Rewrites the archive in place."""
    packed = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=seconds))


if __name__ == "__main__":
    pack_again(Path(sys.argv[1]), int(os.environ["SOURCE_DATE_EPOCH"]))
