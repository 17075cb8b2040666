"""Sample many prompts over several processes, each with its own copy of the model.

Writes OUT/NUMBER.webp with the views of each prompt, and OUT/many_prompts.webp with the first view of all. What is
there already is not made again, so that the same command goes on after an interruption.
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from diffusers.utils import make_image_grid
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

PROMPTS = ["a red office chair", "a blue armchair", "a wooden stool", "a white plastic chair"]


def load() -> None:
    """Load the model once per process; one thread each, so that they do not wait for one another."""
    global pipe
    torch.set_num_threads(1)
    pipe = TuneMV3DPipeline.from_pretrained("chairs-mini")
    pipe.set_progress_bar_config(disable=True)


def make(prompt: str, file: Path, views: int, steps: int) -> None:
    """Sample one prompt and write its views side by side; a file that exists is whole."""
    output = pipe(prompt, Cameras.orbit(views), num_inference_steps=steps)
    part = file.with_suffix(".part")
    make_image_grid(output.images[0], 1, views).save(part, "WEBP")
    part.replace(file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", nargs="+", default=PROMPTS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("many_prompts"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = [args.out / f"{number:04d}.webp" for number in range(len(args.prompts))]
    # Started afresh, not forked: a forked process would inherit torch's threads half-way.
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn"), load) as pool:
        orders = [(prompt, file) for prompt, file in zip(args.prompts, files, strict=True) if not file.exists()]
        made = {pool.submit(make, *order, args.views, args.steps): order for order in orders}
        for future, (prompt, file) in made.items():
            future.result()
            print(f"{file}: {prompt}")
    firsts = [picture.crop((0, 0, picture.height, picture.height)) for picture in map(Image.open, files)]
    make_image_grid(firsts, 1, len(firsts)).save(args.out / "many_prompts.webp")
