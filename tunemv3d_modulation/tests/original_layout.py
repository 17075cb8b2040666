"""A pipeline's weights under the names of the original (LDM, sgm) code, as single files on model sites hold them.

The inverse of what ``diffusers.loaders.single_file_utils`` does on loading.
"""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE = {
    "conv_norm_out": "norm_out",
    "mid_block.attentions.0": "mid.attn_1",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "conv_shortcut": "nin_shortcut",
}
OPENCLIP = {
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn": "attn",
}


def save_single_file(path: Path, pipe: Any) -> Path:
    """Write the whole pipeline's weights to one file."""
    weights = {f"model.diffusion_model.{k}": v for k, v in unet(pipe.unet).items()}
    weights |= {f"first_stage_model.{k}": v for k, v in vae(pipe.vae).items()}
    two = hasattr(pipe, "text_encoder_2")
    prefix = "conditioner.embedders.0" if two else "cond_stage_model"
    clip = {k.removeprefix("text_model."): v for k, v in pipe.text_encoder.state_dict().items()}
    weights |= {f"{prefix}.transformer.text_model.{k}": v for k, v in clip.items()}
    if two:
        weights |= {f"conditioner.embedders.1.model.{k}": v for k, v in open_clip(pipe.text_encoder_2).items()}
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, path)
    return path


def unet(model: Any) -> dict[str, Tensor]:
    """Blocks counted through, downsampling as layers of their own."""
    layers = model.config.layers_per_block + 1
    renamed = {}
    for name, tensor in model.state_dict().items():
        if match := re.match(r"down_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
            block, kind, layer, rest = int(match[1]), match[2], int(match[3]), match[4]
            at = 1 + block * layers + (layers - 1 if kind == "downsamplers" else layer)
            name = f"input_blocks.{at}.{layer_name(kind, rest, 'op')}"
        elif match := re.match(r"up_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
            block, kind, layer, rest = int(match[1]), match[2], int(match[3]), match[4]
            at = block * layers + (layers - 1 if kind == "upsamplers" else layer)
            after = 2 if hasattr(model.up_blocks[block], "attentions") else 1
            name = f"output_blocks.{at}.{layer_name(kind, rest, f'{after}.conv')}"
        elif match := re.match(r"mid_block\.(\w+)\.(\d+)\.(.*)", name):
            at = 1 if match[1] == "attentions" else 2 * int(match[2])
            name = f"middle_block.{at}.{layer_name(match[1], match[3], '')[2:]}"
        else:
            name = replaced(name, UNET)
        renamed[name] = tensor
    return renamed


def layer_name(kind: str, rest: str, sampler: str) -> str:
    if kind == "resnets":
        return f"0.{replaced(rest, RESNET)}"
    if kind == "attentions":
        return f"1.{rest}"
    tail = rest.removeprefix("conv.")
    return f"0.op.{tail}" if sampler == "op" else f"{sampler}.{tail}"


def vae(model: Any) -> dict[str, Tensor]:
    """The decoder's blocks counted from the other end, attention as 1x1 convolutions."""
    last = len(model.config.up_block_types) - 1
    renamed = {}
    for name, tensor in model.state_dict().items():
        if ".attentions." in name and tensor.ndim == 2:
            tensor = tensor[..., None, None]
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{last - int(m[1])}.block.", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)
        renamed[replaced(name, VAE)] = tensor
    return renamed


def open_clip(model: Any) -> dict[str, Tensor]:
    """Queries, keys and values in one matrix, the projection transposed."""
    renamed: dict[str, Tensor] = {}
    state = model.state_dict()
    for name, tensor in state.items():
        if ".q_proj." in name:
            joined = torch.cat([state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"])
            renamed[replaced(re.sub(r"\.q_proj\.(\w+)", r".in_proj_\1", name), OPENCLIP)] = joined
        elif name == "text_projection.weight":
            renamed["text_projection"] = tensor.T
        elif ".k_proj." not in name and ".v_proj." not in name:
            renamed[replaced(name, OPENCLIP)] = tensor
    return renamed


def replaced(name: str, words: dict[str, str]) -> str:
    for new, old in words.items():
        name = re.sub(rf"(^|\.){re.escape(new)}(?=\.|$)", rf"\g<1>{old}", name)
    return name
