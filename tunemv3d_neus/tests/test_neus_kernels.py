import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from neus_float64 import errors, random_network

from tunemv3d_core.errors import TuneMV3DWarning
from tunemv3d_neus.fused_network import is_fused
from tunemv3d_neus.kernels.availability import kernels_run
from tunemv3d_neus.kernels.fallback import succeeds

PAPER = {"features": 32, "values": 4, "hidden": 128, "blocks": 5, "latent_blocks": 3}
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SMALL = {"features": 21, "values": 3, "hidden": 64, "blocks": 3, "latent_blocks": 3}


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


@pytest.mark.slow
def test_fused_network_equals_float64_interpreted() -> None:
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    script = Path(__file__).with_name("neus_interpreted_network.py")
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for case, of in json.loads(done.stdout).items():
        assert len(of) > 15
        assert all(error < 1e-5 for error in of.values()), (case, of)


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("options", [PAPER, SMALL, {**SMALL, "directions": "input"}, {**SMALL, "skip_features": False}])
@pytest.mark.parametrize("samples", [1, 24, 31])
def test_fused_network_equals_float64_on_a_gpu(options: dict[str, object], samples: int) -> None:
    of = errors("cuda", torch.float32, rays=301, samples=samples, **options)
    assert all(error < 1e-4 for error in of.values()), of


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [PAPER, SMALL])
def test_fused_network_is_as_precise_as_plain_autocast(dtype: torch.dtype, options: dict[str, object]) -> None:
    fused = errors("cuda", dtype, rays=500, samples=24, **options)
    plain = errors("cuda", dtype, rays=500, samples=24, fused=False, **options)
    for name, error in fused.items():
        assert error < max(1.3 * plain[name], 0.01), (name, error, plain[name])


@pytest.mark.gpu
@NEEDS_GPU
def test_two_backward_passes_are_equal_bit_for_bit() -> None:
    first, second = (errors("cuda", torch.bfloat16, rays=500, samples=24, **PAPER) for _ in range(2))
    assert first == second


def test_whatever_a_compiler_raises_leads_to_the_plain_path_with_one_line() -> None:
    def fails() -> None:
        raise RuntimeError("no compiler\nand a long log")

    with pytest.warns(TuneMV3DWarning, match=r"fused kernels cannot be used \(RuntimeError: no compiler\)"):
        assert not succeeds(fails)
    assert succeeds(lambda: None)


@pytest.mark.gpu
@NEEDS_GPU
def test_a_field_takes_the_kernels_where_the_first_call_has_no_gradient() -> None:
    network = random_network(**SMALL).to("cuda")  # type: ignore[arg-type]
    kernels_run.cache_clear()
    with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        warnings.simplefilter("error")
        assert is_fused(network, torch.device("cuda", 0))


@pytest.mark.gpu
@NEEDS_GPU
def test_an_old_gpu_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(**SMALL).to("cuda")  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    kernels_run.cache_clear()
    with pytest.warns(TuneMV3DWarning, match="too old") as told:
        assert not any(is_fused(network, torch.device("cuda", 0)) for _ in range(3))
    assert len(told) == 1
    kernels_run.cache_clear()
