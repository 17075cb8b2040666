"""Sample one prompt at several consistency strengths K, always from the same noise.

Writes OUT/k_sweep.webp, one row of views per K: 0 is the frozen 2D model, 1 the tuned one, more extrapolates. Prints
how well the views' silhouettes agree with the field's (IoU).
"""

import argparse
from pathlib import Path

import torch
from diffusers.utils import make_image_grid

from tunemv3d_core.agreement import silhouettes_iou
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.viz.pictures import cut_out, to_pil
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--prompt", default="a blue armchair")
parser.add_argument("--strengths", type=float, nargs="+", default=[0, 1, 1.5, 3], metavar="K")
parser.add_argument("--steps", type=int, default=25)
parser.add_argument("--views", type=int, default=4)
parser.add_argument("--out", type=Path, default=Path("k_sweep"))
args = parser.parse_args()

pipe = TuneMV3DPipeline.from_pretrained("chairs-mini")
cameras, rows = Cameras.orbit(args.views), []
for strength in args.strengths:
    output = pipe(
        args.prompt,
        cameras,
        num_inference_steps=args.steps,
        consistency=strength,
        generator=0,
        output_type="pt",
    )
    images, opacity = output.images[0], output.opacity[0]
    print(f"K = {strength:g}: IoU {silhouettes_iou(cut_out(images, opacity)[:, 3], opacity):.3f}")
    rows.append(images)
args.out.mkdir(parents=True, exist_ok=True)
pictures = [to_pil(view) for view in torch.cat(rows)]
make_image_grid(pictures, len(rows), args.views).save(args.out / "k_sweep.webp")
