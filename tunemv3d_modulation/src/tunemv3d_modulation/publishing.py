"""Saving a pipeline: as a checkpoint's folder, as a folder to publish, and on the hub."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import create_repo

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.base_model import published
from tunemv3d_core.io.file_names import without_paths
from tunemv3d_modulation.model_card import model_card
from tunemv3d_modulation.pretrained_io import check_saving, save_folder, write_index

if TYPE_CHECKING:
    from tunemv3d_core.config.run_spec import RunSpec


class PublishingMixin:
    """The part of ``TuneMV3DPipeline`` that writes it."""

    model: MultiviewDiffusion
    scheduler: Any
    spec: "RunSpec"
    data: dict[str, Any] | None

    def save_pretrained(
        self,
        save_directory: str | Path,
        dtype: torch.dtype | None = None,
        *,
        safe_serialization: bool = True,
        variant: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> None:
        """Write a checkpoint's folder: the tuned weights, the spec, the scheduler and the provenance.

        Args:
            save_directory: its place; replaced if it is there.
            dtype: of stored weights; default: as they are.
            safe_serialization: False is warned of and changes nothing: weights are safetensors, never a pickle.
            variant: diffusers' word for files beside others, which a checkpoint has not: refused.
            push_to_hub: publish it too.
            **hub: options of ``push_to_hub``; ``repo_id`` is the folder's name unless it is given.

        Raises:
            CheckpointError: the disk is full or not writable, or the scheduler cannot be written.
            TuneMV3DError: a variant, or parts take turns on an accelerator.
        """
        check_saving(safe_serialization, variant)
        _check_whole(self.model)
        save_folder(Path(save_directory), self.model, self.spec, self.scheduler, self.data, dtype)
        if push_to_hub:
            self.push_to_hub(**{"repo_id": Path(save_directory).name, "dtype": dtype, **hub})

    def publish(
        self, folder: Path, name: str, dtype: torch.dtype | None = None, licence: str = "", base_model: str = ""
    ) -> None:
        """Write a folder to publish: a checkpoint with its model card, and what diffusers loads it by.

        No absolute path of this machine goes into it (``tunemv3d_core.io.base_model.published``).

        Args:
            folder: its place; replaced if it is there.
            name: of the model, as the card tells it.
            dtype: of stored weights; default: as they are.
            licence: of the weights; "" leaves the line out.
            base_model: the hub id of the 2D model; "" takes the spec's, if it is none of a path.

        Raises:
            CheckpointError: the disk is full or not writable, or the scheduler cannot be written.
            OSError: the card cannot be written.
        """
        _check_whole(self.model)
        spec = published(self.spec, base_model)
        save_folder(folder, self.model, spec, self.scheduler, without_paths(self.data), dtype)
        write_index(folder, self.scheduler)
        card = model_card(name, self, spec, folder, licence)
        (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        dtype: torch.dtype | None = None,
        licence: str = "",
        base_model: str = "",
        private: bool | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
    ) -> str:
        """Publish on the hub what ``tunemv3d export`` writes; return where it is.

        Args:
            repo_id: on the hub; made if it is not there.
            dtype: of stored weights; default: as they are.
            licence: of the weights, as the hub names it.
            base_model: see ``publish``.
            private: whether a new repository is.
            token: of the hub; default: the stored one.
            commit_message: of the upload.
            create_pr: propose it instead.
            safe_serialization: see ``save_pretrained``.
            variant: likewise.

        Raises:
            TuneMV3DError: a variant.
            CheckpointError: it cannot be written.
        """
        check_saving(safe_serialization, variant)
        repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        with TemporaryDirectory() as place:
            folder = Path(place) / "published"
            self.publish(folder, repo_id, dtype, licence, base_model)
            told: str = self._upload_folder(  # type: ignore[attr-defined]
                folder, repo_id, token=token, commit_message=commit_message, create_pr=create_pr
            )
        return told


def _check_whole(model: MultiviewDiffusion) -> None:
    """Refuse to save while something stands between the weights and their names.

    Raises:
        TuneMV3DError: parts take turns on an accelerator, or LoRA lie on a UNet whose own weights are saved.
    """
    if model.offload is not None:
        raise TuneMV3DError(
            "the parts of this pipeline take turns on the accelerator: call remove_all_hooks() before it is saved"
        )
    backbone: Any = model.backbone
    on_top = getattr(backbone, "adapters", None)
    if on_top is not None and on_top.loaded and backbone.trainable and not backbone.lora_trained:
        raise TuneMV3DError("LoRA lie on the weights that are saved: call unload_lora_weights() before it is saved")
