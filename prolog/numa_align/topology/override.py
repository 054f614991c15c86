"""The site's override file: which GPU is attached to which node, for firmware that is wrong.

TOML, one table per GPU, which exactly one of address, UUID and minor names::

    [[gpu]]
    bdf = "0000:3b:00.0"
    node = 1

    [[gpu]]
    uuid = "GPU-5d6f2f9e-0c1b-7a52-9a4e-2b1f3c4d5e6f"
    node = 0

    [[gpu]]
    minor = 3
    node = 1

An entry overrides everything that the machine reports. A mistake in the file is an OverrideError
whose message names the file and the place; entries for GPUs that this machine does not have are
not an error, since one file may serve several machines.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ..errors import OverrideError
from .gpu.pci import FoundGpu, normalise_bdf
from .model import Node

if TYPE_CHECKING:
    from ..sysfs import AnyPath

_KEYS = ("bdf", "uuid", "minor")
_SIZE_LIMIT = 1 << 20


class Entry(NamedTuple):
    """One GPU of the file; one of ``bdf``, ``uuid`` and ``minor`` is set. ``number`` counts from 1."""

    number: int
    node: int
    bdf: Optional[str] = None
    uuid: Optional[str] = None
    minor: Optional[int] = None

    def names(self, gpu: FoundGpu) -> bool:
        """Whether the entry names that GPU."""
        if self.bdf is not None:
            return gpu.bdf == self.bdf
        if self.uuid is not None:
            return gpu.uuid is not None and gpu.uuid.lower() == self.uuid.lower()
        return gpu.minor == self.minor

    @property
    def subject(self) -> str:
        """The GPU that the entry names, for messages."""
        if self.bdf is not None:
            return self.bdf
        return self.uuid if self.uuid is not None else f"minor {self.minor}"


class Overrides(NamedTuple):
    """The whole file; without entries if there is none, or if it is wrong, as ``remark`` then says."""

    path: str
    entries: tuple[Entry, ...] = ()
    remark: str = ""

    def node_of(self, gpu: FoundGpu) -> Optional[int]:
        """The node that the file gives to a GPU, None if it does not name it.

        Two entries may name the same GPU in different ways; the first one counts.
        """
        return next((entry.node for entry in self.entries if entry.names(gpu)), None)

    def checked(self, nodes: Sequence[Node]) -> Overrides:
        """Return the same overrides; OverrideError if an entry names a node on which no task can run."""
        with_cpus = [node.id for node in nodes if node.cpus]
        known = ", ".join(str(node) for node in with_cpus) or "none"
        for entry in self.entries:
            if entry.node not in with_cpus:
                raise OverrideError(
                    f"{self.path}: entry {entry.number} ({entry.subject}): this machine has no node "
                    f"{entry.node} with CPUs; those with CPUs are {known}"
                )
        return self

    def remarks_on(self, gpus: Sequence[FoundGpu]) -> list[str]:
        """Remarks for a person about the file, on a machine with these GPUs."""
        remarks = [self.remark] if self.remark else []
        for entry in self.entries:
            where = f"{self.path}: entry {entry.number} ({entry.subject})"
            gpu = next((gpu for gpu in gpus if entry.names(gpu)), None)
            if gpu is None:
                remarks.append(f"{where} names no GPU of this machine")
            elif self.node_of(gpu) != entry.node:
                remarks.append(
                    f"{where} is ignored: an earlier one gives GPU {gpu.bdf} node {self.node_of(gpu)}"
                )
        return remarks


def read_overrides(path: AnyPath) -> Overrides:
    """The entries of a file; OverrideError if it cannot be read or is malformed."""
    path = os.fspath(path)
    data = _bytes(path)
    document = _document(path, data)
    unknown = sorted(set(document) - {"gpu"})
    if unknown:
        raise OverrideError(f"{path}: unknown key {unknown[0]!r}; the file consists of [[gpu]] tables")
    tables = document.get("gpu", [])
    if not isinstance(tables, list):
        raise OverrideError(f"{path}: 'gpu' must be a list of tables, each headed [[gpu]]")
    entries = tuple(_entry(path, number, table) for number, table in enumerate(tables, 1))
    _no_subject_twice(path, entries)
    return Overrides(path, entries)


def _bytes(path: str) -> bytes:
    try:
        # Non-blocking: the prolog must not hang on a pipe in the file's place.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise OverrideError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OverrideError(f"{path}: cannot be read: it is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise OverrideError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > _SIZE_LIMIT:
        raise OverrideError(f"{path}: has more than {_SIZE_LIMIT} bytes; is it the right file?")
    return data


def _document(path: str, data: bytes) -> Mapping[str, Any]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise OverrideError(f"{path}: byte {error.start} is not UTF-8") from error
    try:
        return _parse(text)
    except (ValueError, RecursionError) as error:
        # The parser raises ValueError, and so does int() for thousands of digits.
        raise OverrideError(f"{path}: is not TOML: {' '.join(str(error).split())}") from error


def _parse(text: str) -> Mapping[str, Any]:
    """Parse with Python's own parser, which exists since 3.11; before, with `simple_toml`.

    The prolog runs without the site's packages, so no other parser is available.
    """
    try:
        loads = import_module("tomllib").loads  # takes longer than everything else
    except ModuleNotFoundError:
        from .simple_toml import loads  # noqa: PLC0415
    document: dict[str, Any] = loads(text)
    return document


def _entry(path: str, number: int, table: object) -> Entry:
    where = f"{path}: entry {number}"
    if not isinstance(table, dict):
        raise OverrideError(f"{where} is not a table headed [[gpu]]")
    unknown = sorted(set(table) - {*_KEYS, "node"})
    if unknown:
        raise OverrideError(f"{where}: unknown key {unknown[0]!r}; valid keys are bdf, uuid, minor and node")
    subjects = [key for key in _KEYS if key in table]
    if len(subjects) != 1:
        raise OverrideError(f"{where}: name the GPU by one of bdf, uuid and minor, not by {len(subjects)}")
    node = _whole(where, "node", table.get("node"))
    value = table[subjects[0]]
    if subjects[0] == "minor":
        return Entry(number, node, minor=_whole(where, "minor", value))
    if not isinstance(value, str) or not value:
        raise OverrideError(f"{where}: {subjects[0]} must be text in quotes, not {value!r}")
    if subjects[0] == "uuid":
        return Entry(number, node, uuid=value)
    bdf = normalise_bdf(value)
    if bdf is None:
        raise OverrideError(f"{where}: {value!r} is not a PCI address such as 0000:3b:00.0")
    return Entry(number, node, bdf=bdf)


def _whole(where: str, key: str, value: object) -> int:
    if value is None:
        raise OverrideError(f"{where}: {key} is missing")
    # A bool is an int in Python, and "node = true" is a mistake.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise OverrideError(f"{where}: {key} must be a whole number from 0, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A value for a message; Python refuses to print numbers of thousands of digits."""
    return "one that long" if isinstance(value, int) and value.bit_length() > 128 else repr(str(value)[:40])


def _no_subject_twice(path: str, entries: Sequence[Entry]) -> None:
    seen: dict[str, int] = {}
    for entry in entries:
        earlier = seen.setdefault(entry.subject.lower(), entry.number)
        if earlier != entry.number:
            raise OverrideError(f"{path}: entries {earlier} and {entry.number} both name {entry.subject}")
