"""The exceptions of this package; every message is one line meant for a person.

A message says what is wrong, where (file and line if there is one), and what to do.
Commands print it after ``numa-align: `` and exit with ``exit_status``; the prolog and
epilog log it and exit 0, because a failing prolog drains the node.
"""

#: signal(7). Importing the module costs every prolog enum, functools and collections.
_SIGPIPE = 13


class NumaAlignError(Exception):
    """Base of everything that this package reports to a person in one line."""

    exit_status = 2


class TopologyError(NumaAlignError):
    """The machine's description cannot be read or contradicts itself."""


class OverrideError(NumaAlignError):
    """The site's override file is wrong; the message names the file and the line or key."""


class TableError(NumaAlignError):
    """A binding table cannot be written or is not valid."""


class SpecError(NumaAlignError):
    """A ``--numa-align`` specification has an unknown word or value."""


class ClaimError(NumaAlignError):
    """The claim cannot be computed from its input."""


class KernelError(NumaAlignError):
    """The kernel refused or did not understand a query about a process."""


class ConfError(NumaAlignError):
    """Facts or one of Slurm's configuration files are wrong; the message names the file and the line."""


class HiddenError(KernelError):
    """The kernel does not show this to the user who asked."""


class BindError(NumaAlignError):
    """The kernel refused to bind a process to CPUs or memory."""


class RequestError(NumaAlignError):
    """What was asked for does not exist here, or its parts do not fit together."""


class AuditError(NumaAlignError):
    """A file of samples, or a node that was asked for one, has something else."""


class OutputError(NumaAlignError):
    """Output cannot be written; ``quiet`` if that is because its reader has gone."""

    def __init__(self, error: OSError) -> None:
        """From the system's error."""
        super().__init__(f"cannot write the output: {error.strerror}; is there room, and is it still open?")
        self.quiet = isinstance(error, BrokenPipeError)
        if self.quiet:
            # As of a program that SIGPIPE ends, which shells expect of `... | head`; no verdict is 141.
            self.exit_status = 128 + _SIGPIPE
