"""Smaller pictures, animations and meshes, for a page that should be small rather than exact."""

import io
import json
import struct
from typing import Any

import numpy as np
from PIL import Image

from tunemv3d_core.io.generated import save_picture
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_show.glb import MALFORMED, opened

WIDTHS = {"view": 128, "preview": 512, "strip": 512, "turntable": 256}
"""Largest size of pictures by their kind, pixels."""

FRAMES = 12
"""Most frames of a turntable."""

QUALITY = 50
"""Quality of pictures and textures, up to 100."""

TEXTURE = 256
"""Side of a mesh's texture, texels at most."""

LEFT_OUT = ("strip_animation",)
"""Kinds of media that a small page does without: the strip shows the same."""

TOLD = (
    f"Reduced to be small: pictures are lossy, views at most {WIDTHS['view']} and strips {WIDTHS['strip']} pixels "
    f"wide; turntables have {FRAMES} frames; the strips do not move; meshes are rounded to 1/32767 of a unit, their "
    f"textures at most {TEXTURE} texels wide and lossy."
)
"""Sentence with which the page says so."""

QUANTIZED: dict[str, tuple[int, str, int]] = {
    "POSITION": (5122, "<i2", 32767),
    "NORMAL": (5120, "<i1", 127),
    "TEXCOORD_0": (5123, "<u2", 65535),
}
"""Storage of a corner's numbers in [-1, 1] (KHR_mesh_quantization): glTF's component type, numpy's, and what 1 is."""


def small_picture(picture: Image.Image, kind: str) -> bytes:
    """WebP, on white."""
    return _webp([_fitted(picture, WIDTHS[kind])], picture.info.get("xmp", b""))


def small_animation(animation: Image.Image, kind: str) -> bytes:
    """Animated WebP of some of the frames, as long as all of them."""
    frames: list[Image.Image] = []
    milliseconds = 0
    for index in range(count := getattr(animation, "n_frames", 1)):
        animation.seek(index)
        animation.load()
        milliseconds += int(animation.info.get("duration", 0))
        if len(frames) * count <= index * min(FRAMES, count):
            frames.append(_fitted(animation, WIDTHS[kind]))
    return _webp(frames, animation.info.get("xmp", b""), duration=milliseconds // len(frames))


def small_mesh(glb: bytes) -> bytes:
    """A GLB of the same triangles whose numbers are short and whose textures are small JPEG pictures.

    Raises:
        ValueError: no GLB, or not one as ``tunemv3d mesh`` makes it.
    """
    tree, chunks = opened(glb)
    try:
        _shorten_numbers(tree, chunks)
        for image in tree.get("images", []):
            chunks[image["bufferView"]] = _small_texture(chunks[image["bufferView"]])
            image["mimeType"] = "image/jpeg"
    except MALFORMED as error:
        raise ValueError(f"no GLB as `tunemv3d mesh` makes it: {error!r}") from error
    tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), "KHR_mesh_quantization"]
    return _packed(tree, chunks)


def _shorten_numbers(tree: dict[str, Any], chunks: list[bytes]) -> None:
    """Quantize what every corner has, and number the corners by 16 bits where that is enough."""
    for part in (part for mesh in tree["meshes"] for part in mesh["primitives"]):
        corners = tree["accessors"][part["attributes"]["POSITION"]]["count"]
        for name, index in part["attributes"].items():
            accessor = tree["accessors"][index]
            values = np.frombuffer(chunks[accessor["bufferView"]], "<f4").reshape(accessor["count"], -1)
            code, kind, one = QUANTIZED[name]
            if values.max() > 1 or values.min() < (0 if kind == "<u2" else -1):
                continue
            short = np.rint(values * one).astype(kind)
            # Every corner begins at a multiple of 4 bytes.
            padded = np.zeros((len(short), -(-short[0].nbytes // 4) * 4 // short.itemsize), kind)
            padded[:, : short.shape[1]] = short
            chunks[accessor["bufferView"]] = padded.tobytes()
            tree["bufferViews"][accessor["bufferView"]]["byteStride"] = padded[0].nbytes
            accessor |= {"componentType": code, "normalized": True}
            accessor |= {"min": short.min(0).tolist(), "max": short.max(0).tolist()}
        indices = tree["accessors"][part["indices"]]
        if indices["componentType"] == 5125 and corners < 65536:
            view = indices["bufferView"]
            chunks[view] = np.frombuffer(chunks[view], "<u4").astype("<u2").tobytes()
            indices["componentType"] = 5123


def _small_texture(data: bytes) -> bytes:
    with open_picture(data) as texture:
        buffer = io.BytesIO()
        _fitted(texture, TEXTURE).save(buffer, "JPEG", quality=QUALITY, optimize=True)
        return buffer.getvalue()


def _packed(tree: dict[str, Any], chunks: list[bytes]) -> bytes:
    """The GLB of a tree whose buffer's views hold ``chunks``."""
    binary = b""
    for view, chunk in zip(tree["bufferViews"], chunks, strict=True):
        view |= {"byteOffset": len(binary), "byteLength": len(chunk)}
        binary += chunk + b"\0" * (-len(chunk) % 4)
    tree["buffers"] = [{"byteLength": len(binary)}]
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(binary), len(text), 0x4E4F534A)
    return head + text + struct.pack("<II", len(binary), 0x004E4942) + binary


def _fitted(picture: Image.Image, width: int) -> Image.Image:
    """Put a picture on white, at most ``width`` pixels wide."""
    drawn = picture.convert("RGBA")
    ground = Image.new("RGBA", drawn.size, "white")
    ground.alpha_composite(drawn)
    share = min(1.0, width / drawn.width)
    size = (round(drawn.width * share), max(1, round(drawn.height * share)))
    return ground.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _webp(frames: list[Image.Image], xmp: bytes, **timing: Any) -> bytes:
    buffer = io.BytesIO()
    moving = {"save_all": True, "append_images": frames[1:], "loop": 0, **timing} if len(frames) > 1 else {}
    save_picture(frames[0], buffer, xmp, "WEBP", quality=QUALITY, method=6, **moving)
    return buffer.getvalue()
