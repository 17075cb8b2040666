"""Train on chairs with a plain PyTorch loop, without tunemv3d-train.

Prints losses; writes OUT/checkpoint, which ``tunemv3d sample OUT/checkpoint "a red chair"`` takes, and
OUT/training_loop.webp: views of a held-out chair above, what the field made of their noisy latents below.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.utils import make_image_grid

from tunemv3d_core.assemble import assemble, build_component
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.io.checkpoint import save_checkpoint
from tunemv3d_core.latents import decode_pictures, encode_views
from tunemv3d_core.view_selection import spread_views
from tunemv3d_core.viz.pictures import to_pil

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--views", type=int, default=4)
parser.add_argument("--out", type=Path, default=Path("training_loop"))
args = parser.parse_args()
torch.manual_seed(0)
spec = load_spec("chairs-mini")
dataset = build_component("dataset", spec.data)
train = dataset.splits()["train"]
model = assemble(spec.model)  # the 2D model in it is frozen: its parameters take no gradients
backbone, rates = model.backbone, {"field": 1e-2, "view_encoder": 1e-3, "lifter": 1e-4, "injector": 1e-4}
optimizer = torch.optim.AdamW([{"params": model.slots()[slot].parameters(), "lr": lr} for slot, lr in rates.items()])


def noisy_views(index: int, t: int):
    """Return one object's latents, alpha and noise, and what the model is given."""
    views = dataset.views(index, spread_views(dataset.record(index).cameras, args.views))
    latents, alpha = (maps[None] for maps in encode_views(backbone, views, "cpu"))
    noise, level = torch.randn_like(latents), torch.full(latents.shape[:2], float(t))
    x_t, text = backbone.add_noise(latents, noise, level), backbone.encode_text(views.captions)
    return latents, alpha, noise, (x_t, level, text, views.cameras)


for step in range(args.steps):
    index, t = train[torch.randint(len(train), ())], int(torch.randint(backbone.ports.train_timesteps, ()))
    latents, alpha, noise, inputs = noisy_views(index, t)
    prediction = model(*inputs)
    denoise = F.mse_loss(prediction.modulated, backbone.target(latents, noise, inputs[1]))
    neus = F.l1_loss(prediction.x0, latents)
    mask = F.binary_cross_entropy(prediction.rendering.opacity.clamp(1e-4, 1 - 1e-4), alpha)
    (denoise + neus + 0.5 * mask).backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 10 == 0:
        print(f"step {step}: L_denoise {denoise:.4f}, L_neus {neus:.4f}, mask {mask:.4f}")
save_checkpoint(args.out / "checkpoint", model.eval(), spec)
latents, _, _, inputs = noisy_views(dataset.splits()["held_out"][0], 300)
with torch.no_grad():
    rows = torch.cat([decode_pictures(backbone, z)[0] for z in (latents, model(*inputs).x0)])
make_image_grid([to_pil(view) for view in rows], 2, args.views).save(args.out / "training_loop.webp")
