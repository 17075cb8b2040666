"""Train on chairs with a plain PyTorch loop, without tunemv3d-train.

Prints losses; writes OUT/checkpoint, which ``tunemv3d sample OUT/checkpoint "a red chair"`` takes, and
OUT/training_loop.webp: views of a held-out chair above, what the field made of their noisy latents below.
"""

import argparse
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.utils import make_image_grid

from tunemv3d_core.assemble import assemble, build_component
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.io.checkpoint import save_checkpoint
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.view_selection import spread_views
from tunemv3d_core.viz.pictures import to_pil

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--views", type=int, default=4)
parser.add_argument("--out", type=Path, default=Path("training_loop"))
args = parser.parse_args()
random.seed(0)
torch.manual_seed(0)
spec = load_spec("chairs-mini")
dataset = build_component("dataset", spec.data)
model = assemble(spec.model)  # the 2D model in it is frozen: its parameters take no gradients
backbone, rates = model.backbone, {"field": 1e-2, "view_encoder": 1e-3, "lifter": 1e-4, "injector": 1e-4}
groups = [{"params": list(model.slots()[slot].parameters()), "lr": rate} for slot, rate in rates.items()]
optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))


def noisy_views(index: int, t: int):
    """Return latents and noise of one object, and what the model is given."""
    views = dataset.views(index, spread_views(dataset.record(index).cameras, args.views))
    with torch.no_grad():
        latents, text = backbone.encode_images(views.images), backbone.encode_text(views.captions)
    noise, level = torch.randn_like(latents), torch.full(latents.shape[:2], float(t))
    return latents, noise, (backbone.add_noise(latents, noise, level), level, text, views.cameras)


for step in range(args.steps):
    index, t = random.choice(dataset.splits()["train"]), random.randrange(backbone.ports.train_timesteps)
    latents, noise, inputs = noisy_views(index, t)
    prediction = model(*inputs)
    denoise = F.mse_loss(prediction.modulated, backbone.target(latents, noise, inputs[1]))
    neus = F.l1_loss(prediction.x0, latents)
    (denoise + neus).backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 10 == 0:
        print(f"step {step}: L_denoise {denoise.item():.4f}, L_neus {neus.item():.4f}")
save_checkpoint(args.out / "checkpoint", model.eval(), spec)
latents, _, inputs = noisy_views(dataset.splits()["held_out"][0], 300)
with torch.no_grad():
    rows = torch.cat([decode_pictures(backbone, z)[0] for z in (latents, model(*inputs).x0)])
make_image_grid([to_pil(view) for view in rows], 2, args.views).save(args.out / "training_loop.webp")
