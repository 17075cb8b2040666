"""The model card."""

from collections import Counter
from typing import Any

from sd_mini.data import Views

HEAD = """---
license: cc-by-4.0
library_name: diffusers
pipeline_tag: text-to-image
---
# sd-mini

A small text-to-image latent diffusion model in the format of diffusers' `StableDiffusionPipeline`: {image} px pictures
of single pieces of furniture on white, above all chairs. It is the frozen prior of TuneMV3D's small world, not a
general model.

```python
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained("sd-mini")
pipeline("a red armchair", num_inference_steps=25, guidance_scale=5).images[0].save("chair.png")
```
"""


def model_card(image: int, train: Views, held: Views, stages: dict[str, Any], figures: dict[str, Any]) -> str:
    """Write the card's text, from what was trained on, how long, and what came out."""
    parts = [HEAD.format(image=image), _networks(stages), _data(train, held), _training(stages), _figures(figures)]
    return "\n".join([*parts, _LIMITS])


def _networks(stages: dict[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {count / 1e6:.2f} M |" for name, count in stages["parameters"].items())
    return f"""## Networks
| part | parameters |
| --- | --- |
{rows}

Weights are stored as float16. The autoencoder has four latent channels at a quarter of the picture's sides; shift and
scale are folded into its 1x1 convolutions, so that white is the zero latent, each channel's root mean square is 1 and
`scaling_factor` is 1. The UNet predicts the noise under Stable Diffusion's schedule (scaled linear 0.00085 to 0.012,
1000 steps). The tokenizer is CLIP's byte-pair encoding, learned from the captions.
"""


def _data(train: Views, held: Views) -> str:
    folders = "\n".join(f"| {name} | {objects} | {pictures} |" for name, objects, pictures in train.folders)
    licences = Counter(licence for _, licence, _ in train.credits)
    creators = ", ".join(sorted({creator for _, _, creator in train.credits if creator}))
    counted = ", ".join(f"{licence or 'not stated'}: {count}" for licence, count in sorted(licences.items()))
    return f"""## Data
Renders of furniture models from Debian's package sweethome3d-furniture 1.8, and of variants of them with recoloured
materials and rescaled parts. Every folder gets an equal part of the draws.

| folder | objects | pictures |
| --- | --- | --- |
{folders}

{len(train.captions)} captions. Held out whole: {len(set(held.names))} objects with {len(held.names)} pictures.
Licences of the objects trained on: {counted}. Creators: {creators or "not stated"}.
CC-BY asks for attribution, so these weights are given under CC-BY 4.0 with the creators named above.
"""


def _training(stages: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {name} | {stages[name]['steps']} | {stages[name]['batch']} | {stages[name]['seconds']:.0f} s | "
        f"{stages[name]['loss']:.4f} |"
        for name in ("autoencoder", "prior")
    )
    return f"""## Training
On {stages["hardware"]}, from scratch.

| stage | steps | batch | time | last loss |
| --- | --- | --- | --- | --- |
{rows}
"""


def _figures(figures: dict[str, Any]) -> str:
    vae, prior = figures["autoencoder"], figures["prior"]
    white = vae["white_latent"]
    lines = [f"- white latent: at most {white['inside']:.3f} inside, {white['all']:.3f} anywhere"]
    if "psnr" in vae:
        lines.append(
            f"- reconstruction of {vae['pictures']} held-out pictures: {vae['psnr']:.1f} dB, foreground "
            f"{vae['psnr_foreground']:.1f} dB (means over pictures)"
        )
        lines.append(
            f"- root mean square of the latents of the white ground around held-out objects: {vae['ground']:.3f} "
            "(of all latents: 1), so that a 3D field can leave it empty"
        )
        drift = ", ".join(f"{name} {value:.3f}" for name, value in vae["colours"].items())
        lines.append(f"- OKLab distance of the mean foreground colour before and after, held-out objects: {drift}")
    lines += [
        f"- {len(prior['per_prompt'])} prompts with {prior['seeds']} seeds (DDIM, {prior['steps']} steps, guidance "
        f"{prior['guidance']:g}): the mean foreground colour bears the named one's name in {prior['named_colour']:.0%}",
        f"- white ground (mean of the outermost pixels over 0.97) in {prior['white_ground']['share']:.0%}",
    ]
    lines += ["", "![every prompt with every seed, none left out](prompts.webp)"]
    return "## Figures\n" + "\n".join(lines) + "\n"


_LIMITS = """## Limits
It knows furniture, a dozen colours and a few materials. Words that stand in no caption have no useful meaning to it.
Thin parts are soft, and two colours in one prompt may change places. Pictures have one light and a white ground.
"""
