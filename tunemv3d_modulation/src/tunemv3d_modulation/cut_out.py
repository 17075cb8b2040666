"""Cut the object out of a picture that is given: by its alpha, from a ground of one colour, or by a model of rembg."""

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import label

from tunemv3d_core.errors import TuneMV3DError

INSTALL = "pip install 'tunemv3d-modulation[cut-out]'"

OPEN = 0.01
"""Least share of a picture that is transparent where an alpha channel cuts something out."""

TOLERANCE = 12
"""Largest difference from the ground's colour in any channel, of 255: noise of a JPEG, no shading."""

PLAIN = 0.75
"""Least share of a picture's border that has the ground's colour where the ground is plain; the object may touch it."""

EXACT, HOLE = 3, 0.0005
"""Largest difference from the ground's colour, and least share of the picture, of ground that an object encloses."""

OFFLINE = ("1", "true", "yes", "on")


def cut_out(picture: Image.Image, model: str = "") -> tuple[Image.Image, str]:
    """Cut the object out of its ground.

    Transparency is taken as it is. A ground of one colour goes where it hangs together with the picture's border, and
    where it shows through the object: large parts of just its colour. Anything else needs a model.

    Args:
        picture: RGBA, upright.
        model: name of a model of rembg, such as "u2net", which rembg downloads at first use; or the path of a U2-Net
            as an ONNX file. "" for none: then nothing is downloaded.

    Returns:
        The picture as RGBA, transparent where the object is not, and what was done, in words; "" for nothing.

    Raises:
        TuneMV3DError: the picture has a background and no model was named, nothing is left, or the model cannot be had.
    """
    pixels = np.array(picture)
    if (pixels[..., 3] < 128).mean() >= OPEN:
        return picture, ""
    if model:
        return _by_model(picture, model), f"its background was removed by {model}"
    ground = plain_ground(pixels[..., :3])
    if ground is None:
        raise TuneMV3DError(
            "it has a background, and a cut-out object is needed: give a PNG with transparency, take --cut-out u2net "
            f"({INSTALL}; downloads 176 MB once) or an ONNX file of U2-Net, or say --as-is"
        )
    outside = _reached_from_border(_is_near(pixels[..., :3], ground))
    if outside.all():
        raise TuneMV3DError(f"it shows nothing: it is all {_named(ground)}")
    holes = _large_parts(_is_near(pixels[..., :3], ground, EXACT) & ~outside)
    alpha = Image.fromarray(np.where(outside | holes, 0, 255).astype(np.uint8))
    if min(ground) < 255 - TOLERANCE:
        # The outermost pixels of the object are mixed with the ground.
        alpha = alpha.filter(ImageFilter.MinFilter(3))
    cut = picture.copy()
    cut.putalpha(alpha)
    through = ", also where it shows through the object" if holes.any() else ""
    return cut, f"its plain ground ({_named(ground)}) was removed{through}"


def plain_ground(pixels: NDArray[np.uint8]) -> tuple[int, int, int] | None:
    """Find the one colour of the ground around an object.

    Args:
        pixels: ``H W 3``.

    Returns:
        The colour that most of the picture's border has; None where the border has several.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    colour = tuple(int(v) for v in np.median(border, axis=0))
    return colour if _is_near(border, colour).mean() >= PLAIN else None  # type: ignore[return-value]


def _is_near(pixels: NDArray[np.uint8], colour: tuple[int, ...], by: int = TOLERANCE) -> NDArray[np.bool_]:
    return np.asarray((np.abs(pixels.astype(np.int16) - np.array(colour, dtype=np.int16)) <= by).all(-1))


def _reached_from_border(ground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those parts of a mask ``H W`` that touch the picture's border."""
    parts, _ = label(ground)
    touching = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return np.isin(parts, touching[touching > 0])


def _large_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those parts of a mask ``H W`` that take ``HOLE`` of it at least."""
    parts, count = label(mask)
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    areas[0] = 0
    return np.asarray((areas >= HOLE * mask.size)[parts])


def _named(colour: tuple[int, int, int]) -> str:
    if max(colour) <= TOLERANCE:
        return "black"
    return "white" if min(colour) >= 255 - TOLERANCE else "#{:02x}{:02x}{:02x}".format(*colour)


def _by_model(picture: Image.Image, model: str) -> Image.Image:
    """Cut out by rembg; pictures stay on this machine."""
    try:
        # An extra, and heavy.
        import rembg
    except ImportError as error:
        raise TuneMV3DError(f"--cut-out {model} needs rembg, which cannot be imported ({error}): {INSTALL}") from None
    session = _session(rembg, model)
    if not getattr(session, "is_local", lambda: True)():
        raise TuneMV3DError(f"--cut-out {model}: this model sends the picture to a service; take u2net, which does not")
    cut: Image.Image = rembg.remove(picture.convert("RGB"), session=session)
    if not (np.asarray(cut)[..., 3] >= 128).any():
        raise TuneMV3DError(f"{model} finds no object in it: cut it out by hand, as a PNG with transparency")
    return cut


def _session(rembg: Any, model: str) -> Any:
    """Load a model.

    Raises:
        TuneMV3DError: there is no such model or file, or it cannot be downloaded.
    """
    file = Path(model)
    try:
        if file.suffix == ".onnx":
            if not file.is_file():
                raise TuneMV3DError(f"--cut-out {model}: no such file")
            # rembg reads files of its own folder only.
            with patch.dict(os.environ, {"U2NET_HOME": str(file.absolute().parent)}):
                return rembg.new_session("u2net_custom", model_path=str(file.absolute()))
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in OFFLINE and not _is_on_disk(model):
            raise OSError("HF_HUB_OFFLINE is set, and the model is not on this disk")
        return rembg.new_session(model)
    except TuneMV3DError:
        raise
    except Exception as error:  # of rembg, pooch, requests and onnxruntime
        raise TuneMV3DError(
            f"--cut-out {model}: the model cannot be loaded: {error}; take u2net, or a U2-Net's ONNX file"
        ) from None


def _is_on_disk(model: str) -> bool:
    """Tell whether rembg has a model's file already."""
    homes = [os.environ.get("U2NET_HOME"), os.environ.get("REMBG_HOME"), "~/.rembg", "~/.u2net"]
    folders = [Path(home).expanduser() for home in homes if home]
    return any(
        file.is_file() for f in folders for file in (f / f"{model}.onnx", f / "models" / model / f"{model}.onnx")
    )
