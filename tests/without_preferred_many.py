"""Runs a command under the answer of a kernel before 5.15 to MPOL_PREFERRED_MANY: EINVAL.

    python3 without_preferred_many.py COMMAND [ARG]...

A seccomp filter gives it, which the command and all that it starts inherit, so that every other call is the
real kernel's. Needs CAP_SYS_ADMIN. x86-64 only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

SET_MEMPOLICY, PREFERRED_MANY = 238, 5
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EINVAL
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2


def install() -> None:
    """Install the filter in the calling process."""
    program = (
        (LOAD, 0, 0, NUMBER),
        (JUMP_IF_EQUAL, 0, 3, SET_MEMPOLICY),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_IF_EQUAL, 0, 1, PREFERRED_MANY),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


if __name__ == "__main__":
    install()
    os.execvp(sys.argv[1], sys.argv[1:])
