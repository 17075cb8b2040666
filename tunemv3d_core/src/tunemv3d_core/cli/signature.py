"""``tunemv3d sign`` and ``tunemv3d verify``: a folder signed by a key of one's own, by model_signing and offline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunemv3d_core.console import console, show_error
from tunemv3d_core.errors import EXIT_FINDINGS, ComponentError, TuneMV3DError

if TYPE_CHECKING:
    from model_signing.hashing import Config

SIGNATURE = "model.sig"
"""Name of the signature, which lies in the folder and travels with it."""

Folder = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, help="What `tunemv3d export` or `sample` wrote, or any folder.")
]


def sign(
    folder: Folder,
    key: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A private elliptic-curve key, PEM.")],
) -> None:
    """Sign every file of a folder; the signature becomes model.sig in it. Nothing leaves this machine.

    A key is made by `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`, and the public one that belongs to
    it by `openssl ec -in key.pem -pubout -out key.pub`.
    """
    hashing = _hashing()
    from model_signing import signing

    place = folder / SIGNATURE
    try:
        signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(hashing).sign(folder, place)
    except Exception as error:  # model_signing raises whatever its libraries do
        raise TuneMV3DError(
            f"{folder}: cannot be signed with {key}: {error}. The key should be a private elliptic-curve one in PEM "
            "without a password, and the folder hold plain files alone"
        ) from error
    console.print(f"{place}", soft_wrap=True, highlight=False)


def verify(
    folder: Folder,
    key: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The public key of who signed it, PEM.")],
) -> None:
    """Look whether a folder is as its signer left it: no file changed, missing or added. Exit code 1: it is not."""
    hashing = _hashing()
    from model_signing import verifying

    place = folder / SIGNATURE
    if not place.is_file():
        raise TuneMV3DError(f"{folder}: is not signed, there is no {SIGNATURE}; tunemv3d sign makes it")
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(hashing).verify(folder, place)
    except Exception as error:  # model_signing raises whatever its libraries do
        reason = str(error) or "it was signed with another key, or the signature was changed"
        show_error(TuneMV3DError(f"{folder}: is not what was signed by {key}: {reason}. Do not use it; fetch it again"))
        raise typer.Exit(EXIT_FINDINGS) from None
    console.print(f"{folder}: as it was signed", soft_wrap=True, highlight=False)


def _hashing() -> "Config":
    """Return how files are hashed: all of them but the signature, and no links.

    Raises:
        ComponentError: model_signing is not installed.
    """
    try:
        from model_signing.hashing import Config
    except ImportError:
        raise ComponentError("signatures need model_signing: pip install 'tunemv3d-core[sign]'") from None
    return Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
