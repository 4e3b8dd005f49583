"""Names of Zero-1-to-3's original checkpoint (Liu et al., ICCV 2023; also Stable Zero123) in the layout of diffusers.

An original checkpoint is one state of `ldm`, the program of latent diffusion (Rombach et al., CVPR 2022):

    model.diffusion_model.*           U-Net          ->  unet/
    first_stage_model.*               autoencoder    ->  vae/
    cond_stage_model.model.visual.*   OpenAI's CLIP  ->  image_encoder/
    cc_projection.*                   Linear         ->  clip_camera_projection/

Each function takes the tensors below one of these names, without it, and returns them by their new names, and the
configuration that the new layout keeps beside them. Sizes are read from the tensors, what they cannot tell (heads, the
factor of latents, the schedule) is that of the released configuration. A tensor whose place is not known is refused,
so that nothing is left out in silence; averages of the weights (`model_ema`) and CLIP's text tower are not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sensorium.core.errors import DataError

State = dict[str, torch.Tensor]
Rules = Sequence[tuple[str, str]]

HEADS, SCALING = 8, 0.18215  # of the U-Net's attention; of latents
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "image_encoder": "cond_stage_model.model.visual.",
    "clip_camera_projection": "cc_projection.",
}

RESNET: Rules = (
    (r"in_layers\.0\.", "norm1."),
    (r"in_layers\.2\.", "conv1."),
    (r"out_layers\.0\.", "norm2."),
    (r"out_layers\.3\.", "conv2."),
    (r"emb_layers\.1\.", "time_emb_proj."),
    (r"skip_connection\.", "conv_shortcut."),
)


def below(state: Mapping[str, torch.Tensor], part: str) -> State:
    """Return the tensors of a part by their names below its prefix.

    Raises:
        DataError: There is none.
    """
    prefix = PREFIXES[part]
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise DataError(f"the checkpoint has no '{prefix}*': it is no original checkpoint of Zero-1-to-3")
    return found


# --- U-Net ----------------------------------------------------------------------------------------------------------


def unet(state: State) -> tuple[State, dict[str, Any]]:
    """Return the U-Net's tensors and configuration.

    Raises:
        DataError: A tensor has no known place, or the network takes no photo beside the noise.
    """
    first = _needed(state, "input_blocks.0.0.weight")
    if first.shape[1] != 8:
        raise DataError(f"the U-Net takes {first.shape[1]} channels: that of Zero-1-to-3 takes 8, noise and photo")
    count = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("input_blocks."))
    halvings = [k for k in range(count) if f"input_blocks.{k}.0.op.weight" in state]
    per_level = halvings[0] if halvings else count  # blocks of a level, its halving among them
    levels, layers = len(halvings) + 1, per_level - 1
    renamed = {_unet_name(name, per_level, levels, state): value for name, value in state.items()}
    firsts = [1 + level * per_level for level in range(levels)]
    crossing = [f"input_blocks.{k}.1.norm.weight" in state for k in firsts]
    attention = "middle_block.1.transformer_blocks."
    depth = len({name.split(".")[3] for name in state if name.startswith(attention)})
    config = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 32,
        "in_channels": 8,
        "out_channels": _needed(state, "out.2.weight").shape[0],
        "block_out_channels": [_needed(state, f"input_blocks.{k}.0.out_layers.3.weight").shape[0] for k in firsts],
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if crosses else "DownBlock2D" for crosses in crossing],
        "up_block_types": ["CrossAttnUpBlock2D" if crosses else "UpBlock2D" for crosses in reversed(crossing)],
        "cross_attention_dim": _needed(state, f"{attention}0.attn2.to_k.weight").shape[1],
        "transformer_layers_per_block": depth,
        "use_linear_projection": _needed(state, "middle_block.1.proj_in.weight").ndim == 2,
        "attention_head_dim": HEADS,  # diffusers' name for their number
    }
    return renamed, config


def _unet_name(name: str, per_level: int, levels: int, state: State) -> str:
    """The new name of a tensor of the U-Net."""
    outer = (
        (r"time_embed\.0\.", "time_embedding.linear_1."),
        (r"time_embed\.2\.", "time_embedding.linear_2."),
        (r"input_blocks\.0\.0\.", "conv_in."),
        (r"out\.0\.", "conv_norm_out."),
        (r"out\.2\.", "conv_out."),
        (r"middle_block\.1\.", "mid_block.attentions.0."),
    )
    if renamed := _replaced(name, outer):
        return renamed
    if match := re.match(r"middle_block\.([02])\.(.+)", name):
        return f"mid_block.resnets.{int(match[1]) // 2}." + _inner(match[2], name)
    if match := re.match(r"input_blocks\.(\d+)\.([01])\.(.+)", name):
        level, layer = divmod(int(match[1]) - 1, per_level)
        if match[2] == "1":
            return f"down_blocks.{level}.attentions.{layer}.{match[3]}"
        if layer == per_level - 1 and level < levels - 1:
            return f"down_blocks.{level}.downsamplers.0.{_after(match[3], 'op.', 'conv.', name)}"
        return f"down_blocks.{level}.resnets.{layer}." + _inner(match[3], name)
    if match := re.match(r"output_blocks\.(\d+)\.([012])\.(.+)", name):
        level, layer = divmod(int(match[1]), per_level)
        if match[2] == "0":
            return f"up_blocks.{level}.resnets.{layer}." + _inner(match[3], name)
        if f"output_blocks.{match[1]}.{match[2]}.conv.weight" in state:  # where a level ends, after its attention
            return f"up_blocks.{level}.upsamplers.0.{match[3]}"
        return f"up_blocks.{level}.attentions.{layer}.{match[3]}"
    raise _unknown(name)


# --- autoencoder ----------------------------------------------------------------------------------------------------


def vae(state: State) -> tuple[State, dict[str, Any]]:
    """Return the autoencoder's tensors and configuration; attention's 1 x 1 convolutions become linear.

    Raises:
        DataError: A tensor has no known place.
    """
    levels = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.down."))
    layers = len({name.split(".")[4] for name in state if name.startswith("encoder.down.0.block.")})
    found: State = {}
    for name, value in state.items():
        linear = re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight$", name) is not None
        found[_vae_name(name, levels)] = value.flatten(1) if linear else value
    widths = [_needed(state, f"encoder.down.{k}.block.0.conv1.weight").shape[0] for k in range(levels)]
    config = {
        "_class_name": "AutoencoderKL",
        "sample_size": 256,
        "in_channels": _needed(state, "encoder.conv_in.weight").shape[1],
        "out_channels": _needed(state, "decoder.conv_out.weight").shape[0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": _needed(state, "post_quant_conv.weight").shape[0],
        "scaling_factor": SCALING,
    }
    return found, config


def _vae_name(name: str, levels: int) -> str:
    """The new name of a tensor of the autoencoder."""
    if re.match(r"(post_)?quant_conv\.", name) or re.match(r"(en|de)coder\.conv_(in|out)\.", name):
        return name
    if match := re.match(r"((?:en|de)coder)\.norm_out\.(.+)", name):
        return f"{match[1]}.conv_norm_out.{match[2]}"
    if match := re.match(r"((?:en|de)coder)\.mid\.block_([12])\.(.+)", name):
        return f"{match[1]}.mid_block.resnets.{int(match[2]) - 1}." + _shortcut(match[3])
    if match := re.match(r"((?:en|de)coder)\.mid\.attn_1\.(.+)", name):
        inner = (
            (r"norm\.", "group_norm."),
            (r"q\.", "to_q."),
            (r"k\.", "to_k."),
            (r"v\.", "to_v."),
            (r"proj_out\.", "to_out.0."),
        )
        if renamed := _replaced(match[2], inner):
            return f"{match[1]}.mid_block.attentions.0.{renamed}"
    if match := re.match(r"(encoder\.down|decoder\.up)\.(\d+)\.(block\.(\d+)|downsample|upsample)\.(.+)", name):
        down = match[1] == "encoder.down"
        level = int(match[2]) if down else levels - 1 - int(match[2])  # decoders count from the other end
        block = f"{match[1]}_blocks.{level}."
        if match[4] is not None:
            return f"{block}resnets.{match[4]}." + _shortcut(match[5])
        return f"{block}{match[3]}rs.0.{match[5]}"
    raise _unknown(name)


def _shortcut(name: str) -> str:
    return name.replace("nin_shortcut.", "conv_shortcut.")


# --- CLIP and the projection ----------------------------------------------------------------------------------------


def image_encoder(state: State) -> tuple[State, dict[str, Any]]:
    """Return the tensors and configuration of CLIP's picture tower (Radford et al., ICML 2021).

    Raises:
        DataError: A tensor has no known place.
    """
    outer = (
        (r"conv1\.", "vision_model.embeddings.patch_embedding."),
        (r"class_embedding$", "vision_model.embeddings.class_embedding"),
        (r"positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
        (r"ln_pre\.", "vision_model.pre_layrnorm."),
        (r"ln_post\.", "vision_model.post_layernorm."),
    )
    inner = (
        (r"ln_1\.", "layer_norm1."),
        (r"ln_2\.", "layer_norm2."),
        (r"attn\.out_proj\.", "self_attn.out_proj."),
        (r"mlp\.c_fc\.", "mlp.fc1."),
        (r"mlp\.c_proj\.", "mlp.fc2."),
    )
    found: State = {}
    for name, value in state.items():
        match = re.match(r"transformer\.resblocks\.(\d+)\.(.+)", name)
        layer = f"vision_model.encoder.layers.{match[1]}." if match else ""
        if name == "proj":
            found["visual_projection.weight"] = value.t()
        elif match and match[2] in ("attn.in_proj_weight", "attn.in_proj_bias"):
            for which, piece in zip("qkv", value.chunk(3), strict=True):
                found[f"{layer}self_attn.{which}_proj.{match[2].rpartition('_')[2]}"] = piece
        elif renamed := _replaced(match[2], inner) if match else _replaced(name, outer):
            found[layer + renamed] = value
        else:
            raise _unknown(name)
    patches, grid = _needed(state, "conv1.weight"), _needed(state, "positional_embedding").shape[0] - 1
    width = patches.shape[0]
    config = {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu",
        "hidden_size": width,
        "image_size": round(grid**0.5) * patches.shape[-1],
        "patch_size": patches.shape[-1],
        "num_hidden_layers": 1 + max(int(name.split(".")[2]) for name in state if name.startswith("transformer.")),
        "num_attention_heads": max(1, width // 64),
        "intermediate_size": _needed(state, "transformer.resblocks.0.mlp.c_fc.weight").shape[0],
        "projection_dim": _needed(state, "proj").shape[1],
        "layer_norm_eps": 1e-5,
    }
    return found, config


def clip_camera_projection(state: State) -> tuple[State, dict[str, Any]]:
    """Return the tensors of the projection of CLIP's vector and the pose, [d, d + 4] and [d], and its configuration."""
    weight, bias = _needed(state, "weight"), _needed(state, "bias")
    if weight.shape[1] != weight.shape[0] + 4:
        raise DataError(f"cc_projection.weight is {list(weight.shape)}: it takes four numbers of the pose, [d, d + 4]")
    return {"proj.weight": weight, "proj.bias": bias}, {"_class_name": "CLIPCameraProjection"}


# --- shared ---------------------------------------------------------------------------------------------------------


def _replaced(name: str, rules: Rules) -> str | None:
    """The name with its begin replaced by the first rule that fits, or None."""
    for pattern, new in rules:
        if match := re.match(pattern, name):
            return new + name[match.end() :]
    return None


def _inner(name: str, whole: str) -> str:
    renamed = _replaced(name, RESNET)
    if renamed is None:
        raise _unknown(whole)
    return renamed


def _after(name: str, old: str, new: str, whole: str) -> str:
    if not name.startswith(old):
        raise _unknown(whole)
    return new + name.removeprefix(old)


def _needed(state: State, name: str) -> torch.Tensor:
    if name not in state:
        raise DataError(f"the checkpoint lacks '{name}': it is no original checkpoint of Zero-1-to-3, or damaged")
    return state[name]


def _unknown(name: str) -> DataError:
    return DataError(f"the checkpoint has '{name}', whose place in the layout of diffusers is not known")
