"""The checkpoints that sampled objects come from, and the objects' shapes."""

import warnings
from collections.abc import Iterable
from pathlib import Path

from tunemv3d_core.additions import Additions
from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.errors import CameraError, SampleError, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.generation import LoadedCheckpoint, SceneShape
from tunemv3d_core.io.checkpoint import find_checkpoint
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.samples import MANIFEST, SCENE, SampledObject, read_sample
from tunemv3d_core.placement import Placement
from tunemv3d_core.slots import HasSurface


class Checkpoints:
    """Checkpoints by name. The last one that was asked for stays loaded, so objects should come ``by_checkpoint``.

    Args:
        place: where models compute.
        added: another base for them, and what comes on top of it.
    """

    def __init__(self, place: Placement, added: Additions | None = None) -> None:
        self.place, self.device, self._added = place, place.device, added
        self._last: tuple[Path, LoadedCheckpoint] | None = None

    def get(self, name: str) -> LoadedCheckpoint:
        """Load a checkpoint, unless it is the last one.

        Raises:
            CheckpointError: no checkpoint there, or it cannot be read with what is installed.
        """
        folder = find_checkpoint(name).resolve()
        if self._last is None or self._last[0] != folder:
            self._last = None  # memory holds one model
            self._last = folder, LoadedCheckpoint.load(name, self.place, self._added)
        return self._last[1]

    def shape(self, sample: SampledObject) -> SceneShape:
        """Fuse a sampled object's views into its shape.

        Raises:
            SampleError: the manifest names no checkpoint, its field has no surface, or the views are not of its kind.
            CheckpointError: the checkpoint cannot be loaded.
        """
        name = str(sample.manifest.get("checkpoint", ""))
        if not name:
            raise SampleError(f"{sample.folder / MANIFEST}: names no checkpoint, which is needed for the shape")
        loaded = self.get(name)
        model = loaded.model
        _check_same(sample, (loaded.saved_id, spec_id(loaded.spec)), model.backbone.ports.latent_channels)
        scene = sample.scene(model) if model.field is not None else None
        if not isinstance(scene, HasSurface):
            raise SampleError(f"{sample.folder}: the field of '{name}' has no surface, so there is nothing to mesh")
        return SceneShape(scene, model, (sample.latents.shape[-2], sample.latents.shape[-1]))


def by_checkpoint(folders: Iterable[Path]) -> list[Path]:
    """Sort sampled objects so that those of one checkpoint follow each other; otherwise their order stays."""
    return sorted(folders, key=_checkpoint_of)


def read_whole_sample(folder: Path) -> SampledObject:
    """Read a sampled object whose latents are finite.

    Raises:
        SampleError: a file is missing or damaged, a latent is not finite, or a camera stands inside the object.
    """
    try:
        sample = read_sample(folder)
    except CameraError as error:
        raise SampleError(f"{folder / SCENE}: {error}") from None
    bad = ~sample.latents.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        view = int(bad.nonzero()[0])
        raise SampleError(f"{folder / SCENE}: view {view} is not finite (NaN); sample the object again")
    return sample


def _checkpoint_of(folder: Path) -> str:
    """Find the folder of an object's checkpoint; "" where something is wrong, which reading the object will say."""
    try:
        return str(find_checkpoint(str(read_json(folder / MANIFEST).get("checkpoint", ""))).resolve())
    except TuneMV3DError:
        return ""


def _check_same(sample: SampledObject, spec_ids: tuple[str, ...], channels: int) -> None:
    """Refuse views that the checkpoint cannot have made, and warn where it is another one by now.

    Raises:
        SampleError: the latents do not have ``channels``, or are not one per camera.
    """
    shape, views = tuple(sample.latents.shape), len(sample.cameras.origins)
    if len(shape) != 4 or shape[:2] != (views, channels):
        raise SampleError(
            f"{sample.folder / SCENE}: the latents are {shape}, where {views} views of {channels} channels are "
            f"expected: they were made with another checkpoint than '{sample.manifest['checkpoint']}'"
        )
    made = str(sample.manifest.get("spec_id", ""))
    if made and made not in spec_ids:
        message = f"was sampled with another '{sample.manifest['checkpoint']}' than there is now (spec {made[:12]})"
        warnings.warn(f"{sample.folder}: {message}: its shape may differ", TuneMV3DWarning, stacklevel=2)
