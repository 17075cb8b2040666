"""The model card."""

from collections import Counter
from typing import Any

from clip_mini.pack import Rendered

HEAD = """---
license: cc-by-4.0
library_name: transformers
---
# clip-mini

A small CLIP in the format of transformers' `CLIPModel`: 64 px pictures of single pieces of furniture on white, and short
texts of type and colours. It scores samples of TuneMV3D's small world offline; it is no general model. Its text encoder
shares nothing with that of sd-mini, which conditions those samples.

```python
from tunemv3d_eval.clip.retrieval import load_clip

clip = load_clip("clip-mini", "cpu")
clip.images(pictures) @ clip.texts(["a red chair", "a blue chair"]).T   # pictures: n 3 H W in [-1, 1]
```
"""


def model_card(figures: dict[str, Any], training: list[Rendered]) -> str:
    """Write the card's text, from what was trained on, how long, and what came out."""
    return "\n".join([HEAD, _data(figures, training), _figures(figures["held_out"]), _LIMITS])


def _data(figures: dict[str, Any], training: list[Rendered]) -> str:
    run = figures["training"]
    bases = {each.base: each for each in training}
    licences = Counter(each.licence for each in bases.values())
    counted = ", ".join(f"{licence or 'not stated'}: {count}" for licence, count in sorted(licences.items()))
    creators = ", ".join(sorted({each.creator for each in bases.values() if each.creator}))
    return f"""## Data and training
Renders of {len(bases)} furniture models from Debian's package sweethome3d-furniture 1.8 and of recoloured, stretched variants of
them, {len(training)} objects in all, eight views each; texts by template from their captions. The 48 objects that
`recipe/furniture/held_out.txt` lists, and all their variants, were left out.

{figures["parameters"] / 1e6:.2f} M parameters, stored as float16; {run["steps"]} steps of {run["batch"]} pairs in {run["seconds"]:.0f} s on {run["hardware"]}.

Licences of the models: {counted}. Creators: {creators}.
CC-BY asks for attribution, so these weights are given under CC-BY 4.0 with the creators named above.
"""


def _figures(held: dict[str, Any]) -> str:
    rows = [
        f"| {name} | " + " | ".join(f"{row[key]:.1%}" for key in ("caption", "type", "colour", "part's colour")) + " |"
        for name, row in held.items()
        if isinstance(row, dict)
    ]
    asked = held["all by object"]["asked"]
    return "\n".join(
        [
            "## Figures",
            f"On {held['objects']} objects, the 48 held-out ones and their variants: the right one among {held['pool']}",
            f"captions; among {held['types']} types; the main colour among 14; the second colour of a named part among 14.",
            "",
            "| | caption | type | colour | part's colour |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"Asked of {asked[0]}, {asked[1]}, {asked[2]} and {asked[3]} objects; \"chairs\" are the ten held-out chairs with their",
            "variants, on which the prompts of the protocols lie nearest; \"by object\" takes the mean of the eight views.",
            "",
        ]
    )


_LIMITS = """## Limits
It knows furniture, fourteen colours and a few words for parts. Words that stand in none of its texts have no meaning to
it: "with armrests" or "rocking" neither help nor hurt a text, whatever the picture shows. Captions were measured on the
pictures, so that colours close to each other, such as brown and beige, are as unsure here as there.
"""
