"""Damage to a machine's files, done and undone in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random


def _remove(path: Path, _: Random) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _replace_by(content: Callable[[Random], bytes]) -> Callable[[Path, Random], None]:
    def damage(path: Path, random: Random) -> None:
        _remove(path, random)
        path.write_bytes(content(random))

    return damage


def _directory(path: Path, random: Random) -> None:
    _remove(path, random)
    path.mkdir()


def _cut_link(path: Path, random: Random) -> None:
    _remove(path, random)
    path.symlink_to("../nothing/there")


def _loop(path: Path, random: Random) -> None:
    _remove(path, random)
    path.symlink_to(path.name)


def _pipe(path: Path, random: Random) -> None:
    _remove(path, random)
    os.mkfifo(path)


_NUMBERS = (
    b"-1", b"-99", b"4294967295", b"99999999999999999999999", b"65535", b"1.5", b"0x", b"nan",
    b"0-4294967295", b"3-1", b"0-9999", b"0,0,0", b"ffffffff,ffffffff,ffffffff,ffffffff",
    b"10 10 10", b"0 0 0 0 0 0 0 0", b"Node 0 MemTotal: -5 kB",
)  # fmt: skip

#: Every way in which one file or directory is damaged; each replaces it.
WAYS: Sequence[Callable[[Path, Random], None]] = (
    _remove,
    _directory,
    _cut_link,
    _loop,
    _pipe,
    _replace_by(lambda _: b""),
    _replace_by(lambda _: b"\0\n"),
    _replace_by(lambda random: random.choice(_NUMBERS)),
    _replace_by(lambda random: random.randbytes(random.randrange(1, 300))),
    _replace_by(lambda _: b"0-7," * 40000),
)


@contextmanager
def damaged(paths: Sequence[Path], random: Random) -> Iterator[list[str]]:
    """These files and directories, each damaged in a way of its own; whole again afterwards.

    Yields the names of what was done, for the message of a failure. A path below one that has already been
    damaged is left alone.
    """
    done: list[tuple[Path, Path]] = []
    words: list[str] = []
    try:
        for number, path in enumerate(paths):
            if not os.path.lexists(path) or any(original in path.parents for original, _ in done):
                continue
            kept = path.with_name(f"{path.name}~{number}")
            path.rename(kept)
            done.append((path, kept))
            path.touch()
            way = random.choice(WAYS)
            way(path, random)
            words.append(f"{path}: {getattr(way, '__name__', way)}")
        yield words
    finally:
        for path, kept in reversed(done):
            if os.path.lexists(path):
                _remove(path, random)
            kept.rename(path)
