"""Settings of a render job, and the result of each object."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import ImageColor

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.depth_normals import FARTHEST
from tunemv3d_data.renderers.light import FLAT, STUDIO, Light, random_light
from tunemv3d_data.rendering.viewpoints import Rig
from tunemv3d_data.seeding import random_for

LightName = Literal["studio", "flat", "random"]

MIN_COVER = 0.02
"""Objects that cover less of the picture on average (rods, cables) are refused."""


class OutputError(DatasetError):
    """The dataset's folder cannot be written: no object after this one would fare better."""


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into an ``OutputError``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error}; finished objects are kept, run it again") from None


@dataclass(frozen=True)
class RenderJob:
    """A render job: what to make of every object.

    Attributes:
        out: the dataset's folder.
        renderer: name in the slot ``mesh_renderer``.
        views: cameras per object.
        size: (h, w) of the pictures, pixels.
        rig: how the cameras stand.
        light: one light for all, no form at all, or one for each object, drawn from its name.
        background: "transparent", or a colour, which makes the pictures opaque.
        variants: recoloured and stretched copies of every object that is not held out.
        quality: 1 to 100 for lossy WebP, None for lossless.
        geometry: write depth and normals beside the pictures.
        held_out: ids that training never sees.
        strict: refuse objects on which there are notes.
        caption_rules: a Python file whose ``describe`` writes type and captions, as ``captions.wording.describe`` does.
        vocabulary: a file of words of names, on top of the packaged ones, where no ``caption_rules`` are given.
    """

    out: Path
    renderer: str = "embree"
    views: int = 24
    size: tuple[int, int] = (128, 128)
    rig: Rig = field(default_factory=Rig)
    light: LightName = "studio"
    background: str = "transparent"
    variants: int = 0
    quality: int | None = None
    geometry: bool = True
    held_out: frozenset[str] = frozenset()
    caption_rules: Path | None = None
    strict: bool = False
    vocabulary: Path | None = None

    def __post_init__(self) -> None:
        colour = self.background_colour()
        if colour is not None and not self.geometry:
            raise DatasetError(
                f"background {self.background}: without depth files nothing would hold the object's mask"
            )
        if self.geometry and (far := self.rig.distance * (1 + self.rig.jitter) + 1) > FARTHEST:
            raise DatasetError(f"cameras {far:.0f} world units away: depth files hold at most {FARTHEST}; come closer")

    def settings(self) -> dict[str, Any]:
        """Settings that all objects of one dataset must share, for ``dataset.json``."""
        h, w = self.size
        names = ("light", "background", "variants", "quality", "geometry")
        return {
            "renderer": self.renderer,
            "views": self.views,
            "resolution": w if h == w else [h, w],
            **{name: getattr(self, name) for name in names},
            "cameras": self.rig.model_dump(mode="json"),
            **({"strict": True} if self.strict else {}),
        }

    def background_colour(self) -> tuple[int, int, int] | None:
        """Return the background's sRGB, None if it is transparent.

        Raises:
            DatasetError: not a colour.
        """
        if self.background == "transparent":
            return None
        try:
            red, green, blue = ImageColor.getrgb(self.background)[:3]
        except ValueError:
            raise DatasetError(f"background {self.background}: transparent, white, black or #rrggbb") from None
        return red, green, blue

    def light_of(self, name: str) -> Light:
        """Return the light of one object."""
        if self.light == "random":
            return random_light(random_for(name, "light"))
        return {"studio": STUDIO, "flat": FLAT}[self.light]

    def split_of(self, id_: str) -> str:
        """Return the split of an object, "train" or "held_out"."""
        return "held_out" if id_ in self.held_out else "train"

    def names_of(self, id_: str) -> dict[str, int]:
        """List the folders that one object fills, with the numbers of their variants; 0 is the object itself."""
        copies = 0 if id_ in self.held_out else self.variants
        return {id_: 0, **{f"{id_}-v{number}": number for number in range(1, copies + 1)}}

    def folder(self, name: str) -> Path:
        """Return the folder of a finished object."""
        return self.out / "objects" / name

    def is_finished(self, name: str) -> bool:
        """Return whether an object needs nothing more."""
        return (self.folder(name) / "transforms.json").exists()


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one object or variant.

    Attributes:
        id: the object's folder.
        status: "kept" was finished before; "refused" and "failed" have no pictures.
        cause: in a word or two, the same for all objects with this fault.
        reason: what a person needs to know.
        bytes: size of the files written.
    """

    id: str
    status: Literal["rendered", "kept", "refused", "failed"]
    cause: str = ""
    reason: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class JobShard:
    """The part ``index`` of ``count`` of a job that several processes or machines share."""

    index: int = 0
    count: int = 1

    @staticmethod
    def parse(text: str) -> "JobShard":
        """Read "i/n", i from 0.

        Raises:
            DatasetError: not two numbers, or i is not below n.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise DatasetError(f"--shard {text}: i/n with i from 0 to n - 1, such as 0/4")
        return JobShard(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"
