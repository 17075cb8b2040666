"""``make pictures``: make the pictures of the README and the documentation anew, from the packaged models.

``python docs/pictures [NAME…]``. A picture that was made by the same command from the same model stays as it is, and
so do finished commands: after an interruption the same command goes on. One that cannot be made here is told in a
sentence, and the rest goes on; exit code 1.
"""

import sys
from contextlib import suppress
from pathlib import Path

from making import Commands, Picture, make
from table import PICTURES

from tunemv3d_core.console import console, show_error
from tunemv3d_core.errors import EXIT_BAD_INPUT, EXIT_FINDINGS, TuneMV3DError, suggestion


def main(names: list[str]) -> int:
    """Make the named pictures, or all; return the exit code."""
    known = {Path(picture.file).stem: picture for picture in PICTURES}
    if strays := [name for name in names if name not in known]:
        show_error(TuneMV3DError(f"no picture '{strays[0]}'.{suggestion(strays[0], known)} Known: {', '.join(known)}"))
        return EXIT_BAD_INPUT
    commands = Commands()
    try:
        for name in names or known:
            with suppress(TuneMV3DError):  # told when it is the picture's turn
                commands.begin(known[name])
        failed = [name for name in names or known if not _made(name, known[name], commands)]
    finally:
        commands.close()
    return EXIT_FINDINGS if failed else 0


def _made(name: str, picture: Picture, commands: Commands) -> bool:
    try:
        if picture.is_made():
            console.print(f"{name}: as it was", highlight=False)
            return True
        make(picture, commands)
    except TuneMV3DError as error:
        show_error(TuneMV3DError(f"{name}: left out: {error}"))
        return False
    size = picture.path.stat().st_size / 1000
    console.print(f"{name}: {size:.0f} kB", highlight=False)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
