"""The model card."""

from collections import Counter
from typing import Any

from clip_mini.pack import Rendered

HEAD = """---
license: cc-by-4.0
library_name: transformers
---
# clip-mini

A small CLIP in the format of transformers' `CLIPModel`: 64 px pictures of single pieces of furniture on white, and
short texts of type and colours. It judges samples of TuneMV3D's small world offline; it is no general model. Its text
encoder shares nothing with that of sd-mini, which conditions those samples.

```python
from tunemv3d_eval.clip.retrieval import load_clip

clip = load_clip("clip-mini", "cpu")
clip.images(pictures) @ clip.texts(["a red chair", "a blue chair"]).T  # pictures: n 3 H W in [-1, 1]
```
"""
KEYS = ("caption", "type", "colour", "part's colour")


def model_card(figures: dict[str, Any], training: list[Rendered]) -> str:
    """Write the card's text, from what was trained on, how long, and what came out."""
    return "\n".join([HEAD, _data(figures, training), _figures(figures), _LIMITS])


def _data(figures: dict[str, Any], training: list[Rendered]) -> str:
    run = figures["training"]
    bases = {each.base: each for each in training}
    licences = Counter(each.licence for each in bases.values())
    counted = ", ".join(f"{licence or 'not stated'}: {count}" for licence, count in sorted(licences.items()))
    creators = ", ".join(sorted({each.creator for each in bases.values() if each.creator}))
    parameters, hardware = figures["parameters"] / 1e6, run["hardware"]
    return f"""## Data and training
Renders of {len(bases)} furniture models from Debian's package sweethome3d-furniture 1.8 and of recoloured, stretched
variants of them, {run["objects"]} objects in all, eight views each, and {run["painted"]} one-coloured chairs whose legs
were painted into the pictures; texts by template from their captions. The 48 objects that
`recipe/furniture/held_out.txt` lists, and all their variants, were left out.

{parameters:.2f} M parameters, stored as float16; {run["steps"]} steps of {run["batch"]} pairs in
{run["seconds"]:.0f} s on {hardware}, from scratch, the average of the weights. The last loss, {run["loss"]:.2f}, is
that of objects which it has seen hundreds of times and knows by heart; what it is worth stands under Figures.

Licences of the models: {counted}. Creators: {creators}.
CC-BY asks for attribution, so these weights are given under CC-BY 4.0 with the creators named above.
"""


def _figures(figures: dict[str, Any]) -> str:
    held, painted = figures["held_out"], figures["held_out_painted"]
    asked = [" / ".join(map(str, row["all by object"]["asked"])) for row in (held, painted)]
    rows = [*_rows(held, "{}"), *_rows(painted, "painted {}", only="chairs")]
    return f"""## Figures
On {held["objects"]} objects, the 48 held-out ones and their variants, and on {painted["objects"]} of the chairs among
them with painted legs: the right one among {held["pool"]} and {painted["pool"]} captions; among {held["types"]}
types; the main colour among 14; the second colour of a named part among 14.

| | {" | ".join(KEYS)} |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Asked of {asked[0]} objects, and of {asked[1]} painted ones. The ten held-out chairs with their variants are what the
prompts of the protocols lie nearest to. `by object` takes the mean of the eight views.
"""


def _rows(held: dict[str, Any], title: str, only: str = "") -> list[str]:
    return [
        f"| {title.format(name)} | " + " | ".join(f"{row[key]:.1%}" for key in KEYS) + " |"
        for name, row in held.items()
        if isinstance(row, dict) and name.startswith(only)
    ]


_LIMITS = """## Limits
It knows furniture, fourteen colours and a few words for parts. Words that stand in none of its texts have no meaning to
it: "with armrests" or "rocking" neither help nor hurt a text, whatever the picture shows. Captions were measured on the
pictures, so that colours close to each other, such as brown and beige, are as unsure here as there.
"""
