import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_fused_aggregator_equals_the_plain_one_interpreted() -> None:
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    script = Path(__file__).with_name("neus_interpreted_kernel.py")
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, error in json.loads(done.stdout).items():
        assert error["seen_by"] == [0, 1, 2, 3], name
        assert error["forward"] < 1e-4, (name, error)
        assert error["backward"] < (5e-3 if "bfloat16" in name else 1e-5), (name, error)
        assert error["dtype"] == "torch.float32 " + name.split()[1]
