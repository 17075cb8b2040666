"""Every picture of the README and the documentation: its caption, what makes it, and from which packaged models."""

import scenes
from making import Picture

FROZEN = 'tunemv3d sample chairs-mini "a red office chair" --consistency 0'
SAMPLE = 'tunemv3d sample chairs-mini "a red office chair" --strip --video --mesh'


def example(name: str, options: str, text: str, **more: object) -> Picture:
    """Return the picture that a script of ``examples/`` writes."""
    command = f"python examples/{name}.py {options}".strip()
    caption = f"`{command}`. {text}"
    return Picture(f"to-try/{name}.webp", caption, (command,), scenes.written(f"{name}/{name}.webp"), **more)


PICTURES = (
    Picture(
        "pictures/front.webp",
        'Prompt "a red office chair", seed 0, nothing chosen; `make pictures` makes every picture here anew.',
        (FROZEN, SAMPLE),
        scenes.front,
        milliseconds=180,
        quality=58,
    ),
    Picture(
        "pictures/sample.webp",
        f"`{SAMPLE}` wrote this sheet: the views; what the field rendered; its opacity; its depth.",
        (SAMPLE,),
        scenes.sheet,
        most=800,
    ),
    Picture(
        "pictures/dataset.webp",
        "The first three of the packaged `chairs`, as `tunemv3d data render` made them from meshes.",
        (),
        scenes.dataset,
        assets=("chairs",),
    ),
    Picture(
        "pictures/mesh.webp",
        f"`object.glb` of `{SAMPLE}`: its texture above, its normals below.",
        (SAMPLE,),
        scenes.mesh,
    ),
    Picture("pictures/field.webp", "Slots of a model; yours is found by name like ours.", (), scenes.field, assets=()),
    example(
        "training_loop",
        "",
        "Views of a held-out chair above; below, what the field made of their noise.",
        assets=("sd-mini", "chairs"),
    ),
    example("camera_path", "", "None of these cameras was sampled.", milliseconds=100, quality=65),
    example("k_sweep", "--steps 8 --strengths 0 1.5", "K = 0 above, 1.5 below."),
    example(
        "image_to_3d",
        "--steps 12 --views 4",
        "The first view is the picture that was given, of a chair that was held out from training.",
        assets=("chairs-mini", "chairs"),
    ),
    example("many_prompts", "--steps 12", "The first view of each of four prompts."),
    example("in_diffusers", "", '"a wooden chair with a red seat" in 12 steps of UniPC.'),
    # The last one, when no other command runs: it shows how long its steps took.
    Picture(
        "pictures/viewer.webp",
        "`tunemv3d view chairs-mini`, four cameras, eight steps.",
        ("tunemv3d view chairs-mini",),
        scenes.viewer,
        ends=False,
    ),
)

ELSEWHERE = {
    "own-sofa.webp": "a training on meshes that are not packaged; its page names the commands",
    "own-truck.webp": "likewise",
    "health.webp": "previews of a training; its page names the command",
    "architecture.svg": "drawn by docs/draw_architecture.py",
    "method.svg": "drawn by hand",
    "measures/": "drawn by docs/draw_measures.py",
}
"""Files and folders of ``docs/_static`` that this table does not make, and what made them."""
