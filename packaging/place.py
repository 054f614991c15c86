"""Copies a staged tree to where it belongs, and says what it did; for `make install`.

python3 packaging/place.py STAGE DESTDIR [--config PATH]...

What is there already and equal is not touched, so that a second run changes nothing. A file named by
--config belongs to the administrator once it is there: it is left alone, with a word about what is new.
"""

from __future__ import annotations

import argparse
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
    arguments = parser.parse_args()
    new, equal, kept = [], 0, []
    changed: set[Path] = set()
    # Sources before what was compiled from them.
    for source in sorted(arguments.stage.rglob("*"), key=lambda path: (path.suffix == ".pyc", path)):
        if not source.is_file():
            continue
        name = source.relative_to(arguments.stage)
        target = arguments.destdir / name
        if is_equal(source, target, changed):
            equal += 1
        elif f"/{name}" in arguments.config and target.exists():
            kept.append((target, source))
        else:
            place(source, target)
            changed.add(target)
            new.append(target)
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


def is_equal(source: Path, target: Path, changed: set[Path]) -> bool:
    """Whether there is nothing to do for a file; compiled code counts as new as its source."""
    if not target.is_file() or target.is_symlink():
        return False
    if source.suffix == ".pyc":
        return target.parent.parent / f"{source.name.partition('.')[0]}.py" not in changed
    same_mode = stat.S_IMODE(source.stat().st_mode) == stat.S_IMODE(target.stat().st_mode)
    return same_mode and filecmp.cmp(source, target, shallow=False)


def place(source: Path, target: Path) -> None:
    """Put a file in its place in one step: a plugin that is in use is not written into, but replaced."""
    missing = [folder for folder in target.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    temporary = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, temporary)
    temporary.chmod(stat.S_IMODE(source.stat().st_mode))
    temporary.replace(target)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"numa-align: cannot install: {error}")
