"""Bind the tasks of a Slurm step to the CPUs and the memory nearest to their GPUs.

How the data flows, one package for each stage::

    GPU -> topology -> placement (table, claim, plan) -> process, hooks -> task

Importing this package imports nothing else: the job prolog starts it on every
node of every job (docs/decisions/prolog-imports.md). `bind_local_rank`
and `worker_init`, for programs that start workers, are loaded when they are used.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing.TYPE_CHECKING costs the prolog an import
if TYPE_CHECKING:
    from .process.in_python import bind_local_rank, worker_init

__all__ = ["__version__", "bind_local_rank", "worker_init"]


def __dir__() -> list[str]:
    """Include what is loaded on first use, for help() and completion."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name in ("bind_local_rank", "worker_init"):
        from .process import in_python  # noqa: PLC0415

        return getattr(in_python, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
