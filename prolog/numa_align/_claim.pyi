"""The claim, compiled from spank/ by cffi (spank/cffi_build.py)."""

from typing import Any

ffi: Any
lib: Any
