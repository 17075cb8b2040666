"""Sample a chair, then film its scene along a camera path of your own: a spiral that rises and comes closer.

Writes OUT/camera_path.webp, which moves: appearance on the left, the bare surface on the right. None of its cameras
was sampled.
"""

import argparse
import math
from pathlib import Path

import torch

from tunemv3d_core.cameras import Cameras, sphere_points
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.viz.animation import write_animation
from tunemv3d_core.viz.geometry import surface_pictures
from tunemv3d_core.viz.pictures import to_pil
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--prompt", default="a red office chair")
parser.add_argument("--steps", type=int, default=25)
parser.add_argument("--views", type=int, default=8)
parser.add_argument("--frames", type=int, default=24)
parser.add_argument("--out", type=Path, default=Path("camera_path"))
args = parser.parse_args()

pipe = TuneMV3DPipeline.from_pretrained("chairs-mini")
output = pipe(args.prompt, Cameras.orbit(args.views), num_inference_steps=args.steps)

share = torch.arange(args.frames) / args.frames
azimuths, elevations = 2 * math.pi * share, math.radians(50) * share
distances = 3.2 - 0.8 * share[:, None]
path = Cameras.look_at(sphere_points(azimuths.tolist(), elevations.tolist()) * distances).check()[None]

size, frames = pipe.latent_size(), []
for index in range(args.frames):
    camera = path[:, index : index + 1]
    with torch.no_grad():
        rendering = output.scene.render(camera, size)
        picture = decode_pictures(pipe.model.backbone, pipe.model.blend(rendering, size))[0, 0]
        surface = surface_pictures(output.scene, camera, pipe.image_size(), rendering)[0, 0]
    frames.append(to_pil(torch.cat([picture, surface], dim=-1)))
args.out.mkdir(parents=True, exist_ok=True)
by = GeneratedBy.of({"prompt": args.prompt, "checkpoint": "chairs-mini", "data": pipe.data})
write_animation(args.out / "camera_path.webp", frames, by, milliseconds=100)
print(f"{args.out / 'camera_path.webp'}: {args.frames} frames")
