"""Run by ``test_neus_kernels`` in its own process: relative errors of the fused network in Triton's interpreter."""

import json

import torch
from neus_float64 import errors

from tunemv3d_neus.kernels import resnetfc

torch.use_deterministic_algorithms(True)  # fills memory that nothing has written with NaN
resnetfc.BACKWARD_POINTS = 64  # two chunks of 32 points, the second not full
resnetfc.WEIGHT_PROGRAMS = 4
small = {"hidden": 32, "blocks": 2, "latent_blocks": 1, "frequencies": 2, "rays": 5}
print(
    json.dumps(
        {
            "directions at the values": errors("cpu", torch.float32, **small),
            "at the entrance, no skips": errors("cpu", torch.float32, directions="input", skip_features=False, **small),
        }
    )
)
