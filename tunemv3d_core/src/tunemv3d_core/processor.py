"""How a command's process holds its memory."""

import ctypes
import sys

FREED_BYTES = 512 * 2**20
"""So much freed memory stays with the process for its next tensors."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of ``mallopt``'s options, in malloc.h of glibc."""


def keep_freed_memory() -> None:
    """Let freed memory stay with the process, where the C library is glibc.

    It gives freed tensors back to the system, to be handed out and cleared page by page for the next ones: 6 % of a
    sampling on a CPU.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, FREED_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, FREED_BYTES)
