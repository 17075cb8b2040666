"""Summary of an object that outlives its pictures, for checks over the whole dataset."""

from dataclasses import dataclass

from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_data.doctor.silhouettes import Floats


@dataclass(frozen=True)
class Summary:
    """Facts of one object.

    Attributes:
        record: what is known of it.
        digests: a hash of every picture.
        look: its mean picture.
        shifted: mean pixels by which outlines miss each other with the principal point half a pixel further left, as
            it is, and half a pixel further right; empty where it cannot be measured.
    """

    record: PosedImages
    digests: tuple[bytes, ...] = ()
    look: Floats | None = None
    shifted: tuple[float, ...] = ()
