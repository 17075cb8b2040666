"""Triton kernels. Imported only where Triton is installed; the plain torch functions beside them are the reference."""

from importlib.util import find_spec

HAVE_TRITON = find_spec("triton") is not None
