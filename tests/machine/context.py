"""Objects that `with` starts, and that are removed however the block ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

_Self = TypeVar("_Self", bound="Started")


class Started(ABC):
    """A start that fails half-way is undone as well."""

    @abstractmethod
    def start_all(self) -> None:
        """Start everything that the block needs."""

    @abstractmethod
    def stop(self) -> None:
        """Remove everything; stopping twice is harmless."""

    def __enter__(self: _Self) -> _Self:
        try:
            self.start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
