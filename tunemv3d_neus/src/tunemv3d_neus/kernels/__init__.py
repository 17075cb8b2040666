"""Triton kernels. Imported only where Triton is installed; the plain torch functions beside them are the reference."""
