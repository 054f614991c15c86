"""Copies a staged tree to where it belongs, and says what it did; for `make install`.

python3 packaging/place.py STAGE DESTDIR [--config PATH]... [--whole PATH]...

What is there already and equal is not touched, so that a second run changes nothing. A file named by
--config belongs to the administrator once it is there: it is left alone, with a word about what is new. A
folder named by --whole is ours alone: what an older version had there goes.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import shutil
import stat
import sys
from pathlib import Path


def main() -> None:
    """Place every file of the stage; ends with one line of figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", type=Path)
    parser.add_argument("destdir", type=Path)
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--whole", action="append", default=[])
    arguments = parser.parse_args()
    new, equal, kept = [], 0, []
    # Sources before what was compiled from them.
    for source in sorted(arguments.stage.rglob("*"), key=lambda path: (path.suffix == ".pyc", path)):
        if not source.is_file():
            continue
        name = source.relative_to(arguments.stage)
        target = arguments.destdir / name
        if is_equal(source, target):
            equal += 1
        elif f"/{name}" in arguments.config and target.exists():
            kept.append((target, source))
        else:
            place(source, target)
            new.append(target)
    for folder in arguments.whole:
        remove_others(arguments.stage / folder.lstrip("/"), arguments.destdir / folder.lstrip("/"))
    for target in new:
        if target.suffix not in (".py", ".pyc"):
            print(f"  installed {target}")
    modules = sum(target.suffix == ".py" for target in new)
    if modules:
        print(f"  installed {modules} Python modules")
    for target, source in kept:
        print(f"  kept {target}, which is yours; the new one is {source}")
    print(
        f"numa-align: {len(new)} files installed, {equal} were there already"
        + (f", {len(kept)} kept" if kept else "")
    )


#: Magic number, flags and the hash of the source (PEP 552).
_PYC_HEADER = 16


def is_equal(source: Path, target: Path) -> bool:
    """Whether there is nothing to do for a file.

    Compiled code is equal if it was compiled from the same source, which its header says: what follows may
    differ from one compilation to the next.
    """
    if not target.is_file() or target.is_symlink():
        return False
    if stat.S_IMODE(source.stat().st_mode) != stat.S_IMODE(target.stat().st_mode):
        return False
    if source.suffix == ".pyc":
        return source.read_bytes()[:_PYC_HEADER] == target.read_bytes()[:_PYC_HEADER]
    return filecmp.cmp(source, target, shallow=False)


def remove_others(stage: Path, target: Path) -> None:
    """Remove what the stage does not have: a module of an older version could still be imported."""
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()  # only if it is empty
        elif not (stage / path.relative_to(target)).exists():
            path.unlink()


def place(source: Path, target: Path) -> None:
    """Put a file in its place in one step: a plugin that is in use is not written into, but replaced."""
    missing = [folder for folder in target.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    temporary = target.with_name(f".{target.name}.new")
    try:
        shutil.copyfile(source, temporary)
        temporary.chmod(stat.S_IMODE(source.stat().st_mode))
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"numa-align: cannot install: {error}")
