"""``python recipe/clip_mini pack|train``: makes the folder a package that can be run, then packs or trains."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clip_mini.pack import write_pack
from clip_mini.train import train


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe with command-line arguments."""
    parser = argparse.ArgumentParser(prog="clip_mini", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pack = commands.add_parser("pack", help="put rendered datasets into one file")
    pack.add_argument("--renders", type=Path, required=True, help="folder that render.sh wrote")
    pack.add_argument("--out", type=Path, required=True, help="the file")
    run = commands.add_parser("train", help="train, measure, and write OUT/clip-mini")
    run.add_argument("--data", type=Path, required=True, help="file that `pack` wrote")
    run.add_argument("--out", type=Path, required=True, help="folder for the result and the state; the same goes on")
    run.add_argument("--budget", type=float, help="seconds of training; without it the size's steps")
    run.add_argument("--size", choices=("mini", "tiny"), default="mini", help="tiny tries the recipe out")
    run.add_argument("--device", help="cuda, cpu ...; default: the GPU where there is one")
    options = parser.parse_args(arguments)
    if options.command == "pack":
        write_pack(options.renders, options.out)
    else:
        train(options.data, options.out, options.size, options.budget, options.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
