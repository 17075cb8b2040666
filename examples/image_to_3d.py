"""Make a textured mesh from one picture of an object: its other views are sampled to fit it.

Writes OUT/image_to_3d.webp (the views, the given one first) and OUT/object.glb, which 3D programs open. Without --image
the picture is one of a packaged chair that was held out from training.
"""

import argparse
from pathlib import Path

from diffusers.utils import make_image_grid
from PIL import Image

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.generation import SceneShape
from tunemv3d_core.io.generated import GeneratedBy, save_picture
from tunemv3d_core.io.glb import glb
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.slots import Pictures
from tunemv3d_core.viz.pictures import cut_out, to_pil
from tunemv3d_modulation.given_pictures import cut_objects, frame_objects
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_shape.spec import MarchingCubesSpec

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--image", type=Path, default=find_asset("chairs") / "objects/scopia-office-chair/007.webp")
parser.add_argument("--azimuth", type=float, default=-3.0, help="from where it was taken, degrees")
parser.add_argument("--prompt", default="a blue office chair")
parser.add_argument("--steps", type=int, default=25)
parser.add_argument("--views", type=int, default=8)
parser.add_argument("--resolution", type=int, default=128, help="cells along the side of the mesher's grid")
parser.add_argument("--out", type=Path, default=Path("image_to_3d"))
args = parser.parse_args()

pipe = TuneMV3DPipeline.from_pretrained("chairs-mini")
cut, _ = cut_objects({0: Image.open(args.image)})
given, notes = frame_objects(cut, pipe.image_size())
print(*notes, sep="\n")
cameras = Cameras.orbit(args.views, azimuth=args.azimuth)
output = pipe(args.prompt, cameras, num_inference_steps=args.steps, known_views=given, output_type="pt")
images, opacity = output.images[0], output.opacity[0]
args.out.mkdir(parents=True, exist_ok=True)
by = GeneratedBy.of({"prompt": args.prompt, "checkpoint": "chairs-mini", "data": pipe.data})
row = make_image_grid([to_pil(view) for view in images], 1, args.views)
save_picture(row, args.out / "image_to_3d.webp", by.composite_xmp, "WEBP")

rgba = cut_out(images, opacity)
mesher = build_component("mesher", MarchingCubesSpec(resolution=args.resolution, texture=512))
shape = SceneShape(output.scene, pipe.model, pipe.latent_size())
mesh = mesher(shape, Pictures(rgba[:, :3], rgba[:, 3], cameras), pipe.execution_device)
(args.out / "object.glb").write_bytes(glb(mesh, by))
print(f"{args.out / 'object.glb'}: {len(mesh.faces)} triangles")
