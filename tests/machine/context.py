"""What is started by `with` and taken away however the block ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

_Self = TypeVar("_Self", bound="Started")


class Started(ABC):
    """A start that fails half-way is taken away as well."""

    @abstractmethod
    def start_all(self) -> None:
        """Have everything run that the block needs."""

    @abstractmethod
    def stop(self) -> None:
        """Take it all away; it is nothing to stop it twice."""

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
