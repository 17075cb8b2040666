"""The network, at the shipped size and at a size for trying the recipe out, and the folder that it becomes."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from tunemv3d_core.io.atomic import atomic_folder


@dataclass(frozen=True)
class Size:
    """Everything that sets the network's size and the work of training it.

    Attributes:
        image, patch: pixels a side of the picture and of its patches.
        vision, text: width of the towers; their layers in ``vision_layers`` and ``text_layers``.
        shared: width of the space in which pictures and texts are compared.
        vocabulary, length: tokens at most, and tokens of a text.
        batch, steps, warmup: pictures a step, steps where no time is given, steps to the highest learning rate.
    """

    image: int = 64
    patch: int = 8
    vision: int = 128
    vision_layers: int = 5
    text: int = 96
    text_layers: int = 2
    shared: int = 64
    vocabulary: int = 768
    length: int = 24
    batch: int = 2048
    steps: int = 12000
    warmup: int = 300


SIZES = {
    "mini": Size(),
    "tiny": Size(32, 8, 32, 1, 32, 1, 16, 640, 16, 16, 40, 5),
}
MEAN = STD = 0.5
"""Pictures are shifted and scaled to [-1, 1]."""


def make_clip(size: Size, tokenizer: CLIPTokenizer) -> CLIPModel:
    """Build the untrained network; its heads are 32 wide and its hidden layers twice the towers' width."""
    tower = {"hidden_act": "gelu", "projection_dim": size.shared, "attention_dropout": 0.1}
    vision = {"hidden_size": size.vision, "intermediate_size": 2 * size.vision, "image_size": size.image}
    vision |= {"patch_size": size.patch, "num_hidden_layers": size.vision_layers}
    text = {"hidden_size": size.text, "intermediate_size": 2 * size.text, "vocab_size": len(tokenizer)}
    text |= {"num_hidden_layers": size.text_layers, "max_position_embeddings": size.length}
    text |= {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("bos", "eos", "pad")}
    config = CLIPConfig(
        vision_config={**tower, **vision, "num_attention_heads": size.vision // 32},
        text_config={**tower, **text, "num_attention_heads": size.text // 32},
        projection_dim=size.shared,
    )
    return CLIPModel(config)


def write_clip(folder: Path, model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    """Write what ``CLIPModel.from_pretrained`` and ``CLIPProcessor.from_pretrained`` load, weights in float16."""
    size = model.config.vision_config.image_size
    pictures = {
        "image_processor_type": "CLIPImageProcessor",
        **{"do_convert_rgb": True, "do_resize": True, "size": {"shortest_edge": size}, "resample": 3},
        **{"do_center_crop": True, "crop_size": {"height": size, "width": size}},
        **{"do_rescale": True, "rescale_factor": 1 / 255},
        **{"do_normalize": True, "image_mean": [MEAN] * 3, "image_std": [STD] * 3},
    }
    half = CLIPModel(model.config)
    half.load_state_dict(model.state_dict())
    with atomic_folder(folder, replace=True) as beside:
        half.half().save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        (beside / "preprocessor_config.json").write_text(json.dumps(pictures, indent=2) + "\n", encoding="utf-8")


def round_to_half(model: CLIPModel) -> CLIPModel:
    """Round all weights to float16's values, kept as float32: what is measured is then what is stored."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    return model
