import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
{before}
import numpy as np
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**20)
start = faults()
for _ in range(20):
    np.ones(2**20)
print(faults() - start)
"""
KEPT = "from tunemv3d_core.processor import keep_freed_memory; keep_freed_memory()"


def faults(before: str) -> int:
    # What glibc does by itself where it gives memory back: each array is mapped anew.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    code = [sys.executable, "-c", FAULTS.format(before=before)]
    return int(subprocess.run(code, env=environment, capture_output=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_stays_with_the_process() -> None:
    usual, kept = faults(""), faults(KEPT)
    assert kept < usual / 10, (kept, usual)
