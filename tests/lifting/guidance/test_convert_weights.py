"""Conversion of other programs' weights, on tiny checkpoints: names, values, and files that are refused unread."""

import hashlib
import importlib.util
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import functional

from sensorium.core.errors import DataError
from sensorium.core.files import read_json, read_safetensors
from sensorium.lifting.guidance.zero123 import PARTS, PROJECTION, Zero123, Zero123Config

from .test_zero123 import POSES, generator, made, photo, write_tiny

State = dict[str, torch.Tensor]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("convert_weights", ROOT / "tools" / "convert_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert_weights"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "tools"))


class Shapes:
    """Random tensors by name."""

    def __init__(self, seed: int) -> None:
        self.state: State = {}
        self._draw = torch.Generator().manual_seed(seed)

    def add(self, name: str, *shape: int) -> None:
        self.state[name] = 0.1 * torch.randn(shape, generator=self._draw)

    def layer(self, name: str, *shape: int) -> None:
        self.add(f"{name}.weight", *shape)
        self.add(f"{name}.bias", shape[0])


# --- a tiny original checkpoint, its names in the order in which ldm builds its networks ---

WIDTHS, DEEP = (32, 64), 16  # of the U-Net; of the condition


def original_unet() -> State:
    """ldm.modules.diffusionmodules.openaimodel.UNetModel with one block a level, attention at the upper one."""
    made, time = Shapes(0), 4 * WIDTHS[0]

    def resnet(name: str, into: int, out: int) -> None:
        made.layer(f"{name}.in_layers.0", into)
        made.layer(f"{name}.in_layers.2", out, into, 3, 3)
        made.layer(f"{name}.emb_layers.1", out, time)
        made.layer(f"{name}.out_layers.0", out)
        made.layer(f"{name}.out_layers.3", out, out, 3, 3)
        if into != out:
            made.layer(f"{name}.skip_connection", out, into, 1, 1)

    def attention(name: str, width: int) -> None:
        made.layer(f"{name}.norm", width)
        made.layer(f"{name}.proj_in", width, width, 1, 1)
        block = f"{name}.transformer_blocks.0"
        for which, context in (("attn1", width), ("attn2", DEEP)):
            made.add(f"{block}.{which}.to_q.weight", width, width)
            made.add(f"{block}.{which}.to_k.weight", width, context)
            made.add(f"{block}.{which}.to_v.weight", width, context)
            made.layer(f"{block}.{which}.to_out.0", width, width)
        made.layer(f"{block}.ff.net.0.proj", 8 * width, width)
        made.layer(f"{block}.ff.net.2", width, 4 * width)
        for norm in ("norm1", "norm2", "norm3"):
            made.layer(f"{block}.{norm}", width)
        made.layer(f"{name}.proj_out", width, width, 1, 1)

    first, second = WIDTHS
    made.layer("time_embed.0", time, first)
    made.layer("time_embed.2", time, time)
    made.layer("input_blocks.0.0", first, 8, 3, 3)
    resnet("input_blocks.1.0", first, first)
    attention("input_blocks.1.1", first)
    made.layer("input_blocks.2.0.op", first, first, 3, 3)
    resnet("input_blocks.3.0", first, second)
    resnet("middle_block.0", second, second)
    attention("middle_block.1", second)
    resnet("middle_block.2", second, second)
    resnet("output_blocks.0.0", 2 * second, second)
    resnet("output_blocks.1.0", second + first, second)
    made.layer("output_blocks.1.1.conv", second, second, 3, 3)
    resnet("output_blocks.2.0", second + first, first)
    attention("output_blocks.2.1", first)
    resnet("output_blocks.3.0", 2 * first, first)
    attention("output_blocks.3.1", first)
    made.layer("out.0", first)
    made.layer("out.2", 4, first, 3, 3)
    return made.state


def original_vae() -> State:
    """ldm.models.autoencoder.AutoencoderKL, four levels of one block."""
    made, width, levels = Shapes(1), 32, 4

    def block(name: str, into: int = 32) -> None:
        for norm, conv, size in (("norm1", "conv1", into), ("norm2", "conv2", width)):
            made.layer(f"{name}.{norm}", size)
            made.layer(f"{name}.{conv}", width, size, 3, 3)
        if into != width:
            made.layer(f"{name}.nin_shortcut", width, into, 1, 1)

    for side, into, out in (("encoder", 3, 8), ("decoder", 4, 3)):
        made.layer(f"{side}.conv_in", width, into, 3, 3)
        for level in range(levels):
            if side == "encoder":
                block(f"encoder.down.{level}.block.0")
                if level < levels - 1:
                    made.layer(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
            else:
                for number in range(2):
                    block(f"decoder.up.{level}.block.{number}")
                if level:
                    made.layer(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
        block(f"{side}.mid.block_1")
        made.layer(f"{side}.mid.attn_1.norm", width)
        for name in ("q", "k", "v", "proj_out"):
            made.layer(f"{side}.mid.attn_1.{name}", width, width, 1, 1)
        block(f"{side}.mid.block_2")
        made.layer(f"{side}.norm_out", width)
        made.layer(f"{side}.conv_out", out, width, 3, 3)
    made.layer("quant_conv", 8, 8, 1, 1)
    made.layer("post_quant_conv", 4, 4, 1, 1)
    return made.state


CLIP, HEADS, PATCH, BLOCKS = 128, 2, 112, 2


def original_clip() -> State:
    """clip.model.VisionTransformer."""
    made = Shapes(2)
    made.add("class_embedding", CLIP)
    made.add("positional_embedding", 5, CLIP)
    made.add("proj", CLIP, DEEP)
    made.add("conv1.weight", CLIP, 3, PATCH, PATCH)
    made.layer("ln_pre", CLIP)
    for number in range(BLOCKS):
        block = f"transformer.resblocks.{number}"
        made.add(f"{block}.attn.in_proj_weight", 3 * CLIP, CLIP)
        made.add(f"{block}.attn.in_proj_bias", 3 * CLIP)
        made.layer(f"{block}.attn.out_proj", CLIP, CLIP)
        made.layer(f"{block}.ln_1", CLIP)
        made.layer(f"{block}.mlp.c_fc", 4 * CLIP, CLIP)
        made.layer(f"{block}.mlp.c_proj", CLIP, 4 * CLIP)
        made.layer(f"{block}.ln_2", CLIP)
    made.layer("ln_post", CLIP)
    return made.state


def see(state: State, pictures: torch.Tensor) -> torch.Tensor:
    """OpenAI's forward pass, written out: [B, DEEP] of [B, 3, 224, 224]."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, (CLIP,), state[f"{name}.weight"], state[f"{name}.bias"])

    x = functional.conv2d(pictures, state["conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([state["class_embedding"].expand(len(x), 1, -1), x], 1) + state["positional_embedding"]
    x = norm(x, "ln_pre")
    for number in range(BLOCKS):
        block = f"transformer.resblocks.{number}"
        told = norm(x, f"{block}.ln_1").transpose(0, 1)
        x = x + functional.multi_head_attention_forward(
            told, told, told, CLIP, HEADS, state[f"{block}.attn.in_proj_weight"], state[f"{block}.attn.in_proj_bias"],
            None, None, False, 0.0, state[f"{block}.attn.out_proj.weight"], state[f"{block}.attn.out_proj.bias"],
            need_weights=False,
        )[0].transpose(0, 1)  # fmt: skip
        inner = functional.linear(
            norm(x, f"{block}.ln_2"), state[f"{block}.mlp.c_fc.weight"], state[f"{block}.mlp.c_fc.bias"]
        )
        inner = inner * torch.sigmoid(1.702 * inner)
        x = x + functional.linear(inner, state[f"{block}.mlp.c_proj.weight"], state[f"{block}.mlp.c_proj.bias"])
    return norm(x[:, 0], "ln_post") @ state["proj"]


def original() -> State:
    pieces = {
        "model.diffusion_model.": original_unet(),
        "first_stage_model.": original_vae(),
        "cond_stage_model.model.visual.": original_clip(),
        "cc_projection.": {"weight": torch.eye(DEEP, DEEP + 4), "bias": torch.zeros(DEEP)},
        "cond_stage_model.model.": {"logit_scale": torch.ones(())},  # CLIP's text side and what training kept
        "model_ema.": {"diffusion_modelout2bias": torch.zeros(4)},
        "": {"betas": torch.zeros(1000)},
    }
    return {prefix + name: value for prefix, state in pieces.items() for name, value in state.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "tiny.ckpt"
    torch.save({"state_dict": original(), "global_step": 7, "epoch": 1}, path)
    return path


@pytest.fixture(scope="module")
def converted(tool: ModuleType, checkpoint: Path) -> Path:
    target = checkpoint.parent / "converted"
    tool.main(["zero123", str(checkpoint), str(target)])
    return target


def test_an_original_checkpoint_has_its_place_for_every_tensor(converted: Path) -> None:
    found = {part: read_safetensors(next((converted / part).glob("*.safetensors"))) for part in PARTS[:4]}
    unet, vae, clip = original_unet(), original_vae(), original_clip()
    for state, name, old in [
        (found["unet"], "down_blocks.0.downsamplers.0.conv.weight", unet["input_blocks.2.0.op.weight"]),
        (found["unet"], "down_blocks.1.resnets.0.conv_shortcut.bias", unet["input_blocks.3.0.skip_connection.bias"]),
        (found["unet"], "mid_block.resnets.1.time_emb_proj.weight", unet["middle_block.2.emb_layers.1.weight"]),
        (found["unet"], "up_blocks.0.upsamplers.0.conv.bias", unet["output_blocks.1.1.conv.bias"]),
        (found["unet"], "up_blocks.1.attentions.1.norm.weight", unet["output_blocks.3.1.norm.weight"]),
        (found["vae"], "decoder.up_blocks.0.resnets.1.conv1.bias", vae["decoder.up.3.block.1.conv1.bias"]),
        (found["vae"], "decoder.up_blocks.2.upsamplers.0.conv.bias", vae["decoder.up.1.upsample.conv.bias"]),
        (found["vae"], "encoder.mid_block.attentions.0.to_k.weight", vae["encoder.mid.attn_1.k.weight"][..., 0, 0]),
        (found["image_encoder"], "visual_projection.weight", clip["proj"].T),
        (found["clip_camera_projection"], "proj.weight", torch.eye(DEEP, DEEP + 4)),
    ]:
        assert torch.equal(state[name], old), name
    assert len(found["unet"]) == len(unet)
    assert len(found["vae"]) == len(vae)
    assert len(found["image_encoder"]) == len(clip) + 4 * BLOCKS  # queries, keys and values apart
    assert read_json(converted / "unet" / "config.json")["block_out_channels"] == [32, 64]
    assert read_json(converted / "scheduler" / "scheduler_config.json")["beta_schedule"] == "scaled_linear"


def test_names_are_those_that_diffusers_gives(tool: ModuleType) -> None:
    pytest.importorskip("diffusers", reason="the extra lift-hub is not installed")
    from diffusers.loaders import single_file_utils as theirs

    names = sys.modules["zero123_names"]
    ours, config = names.unet(original_unet())
    state = {f"model.diffusion_model.{name}": value for name, value in original_unet().items()}
    wanted = theirs.convert_ldm_unet_checkpoint(
        state, {**config, "class_embed_type": None, "addition_embed_type": None}
    )
    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
    ours, config = names.vae(original_vae())
    state = {f"first_stage_model.{name}": value for name, value in original_vae().items()}
    wanted = theirs.convert_ldm_vae_checkpoint(state, config)
    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_the_picture_tower_says_what_openai_s_says(converted: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tower = transformers.CLIPVisionModelWithProjection.from_pretrained(
        str(converted / "image_encoder"), use_safetensors=True, local_files_only=True
    )
    pictures = torch.randn(2, 3, 224, 224, generator=generator())
    with torch.no_grad():
        found = tower(pixel_values=pictures).image_embeds
    torch.testing.assert_close(found, see(original_clip(), pictures), atol=1e-5, rtol=1e-4)


def test_a_converted_checkpoint_guides(converted: Path) -> None:
    pytest.importorskip("diffusers", reason="the extra lift-hub is not installed")
    guidance = Zero123(Zero123Config(folder=str(converted), device="cpu", allow_slow=True))
    guidance.prepare(photo(), 0.0)
    said = guidance.sds(photo()[None], POSES[:1], 0.5, generator())
    assert bool(said.loss.isfinite().all())
    assert said.logs["not_finite"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.diffusion_model.input_blocks.1.2.weight": torch.zeros(1)}, "input_blocks.1.2.weight.*not known"),
        ({"first_stage_model.encoder.down.0.attn.0.q.weight": torch.zeros(1)}, "down.0.attn.*not known"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 4, 3, 3)}, "takes 4 channels"),
        ({"cc_projection.weight": torch.zeros(16, 16)}, "four numbers of the pose"),
        ({"cc_projection.bias": None}, "lacks 'bias'"),
    ],
)
def test_checkpoints_of_something_else(tool: ModuleType, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    state = {name: value for name, value in (original() | change).items() if value is not None}
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    with pytest.raises(DataError, match=message):
        tool.convert_checkpoint(tmp_path / "other.ckpt", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["other.ckpt"]  # nothing half done is left
    with pytest.raises(DataError, match=r"no 'first_stage_model\.\*'"):
        sys.modules["zero123_names"].below({"a": torch.zeros(1)}, "vae")


# --- files that torch.save wrote ---


def test_classes_of_a_training_program_do_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning's checkpoints name its classes beside the weights; it need not be installed, and nothing of it runs."""
    module = ModuleType("pytorch_lightning.callbacks")
    exec("class Callback:\n    def __setstate__(self, state): raise SystemExit('ran')", module.__dict__)
    module.Callback.__module__ = module.__name__  # type: ignore[attr-defined]
    kind = module.Callback  # type: ignore[attr-defined]
    kept = kind.__new__(kind)
    kept.best = 0.5
    for name in ("pytorch_lightning", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({"callbacks": {kind: kept}, "state_dict": {"w": torch.arange(3.0)}}, tmp_path / "a.ckpt")
    for name in ("pytorch_lightning", module.__name__):
        monkeypatch.setitem(sys.modules, name, None)
    assert tool.read_tensors(tmp_path / "a.ckpt")["w"].tolist() == [0, 1, 2]


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.pair = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.pair


def test_files_are_refused_before_anything_in_them_runs(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.bin"
    for content, message in [
        ({"a": torch.zeros(1), "b": Calls(print, "a stranger ran")}, r"names __builtin__\.print|names builtins\.print"),
        ({"a": Calls(exec, "print('a stranger ran')")}, "no part of tensors"),
        ({"a": "text"}, "'a' is a str where a tensor should be"),
        ([torch.zeros(1)], "holds a list"),
        ({}, "where named tensors"),
    ]:
        torch.save(content, path)
        with pytest.raises(DataError, match=message):
            tool.read_tensors(path)
    assert "a stranger ran" not in capsys.readouterr().out
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match=r"no archive that torch\.save writes"):
        tool.read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "something else")
    with pytest.raises(DataError, match="cannot be read as tensors"):
        tool.read_tensors(path)
    with pytest.raises(DataError, match="does not exist"):
        tool.read_tensors(tmp_path / "none.bin")


def test_the_hash_is_told_and_checked_before_the_file_is_opened(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.bin"
    torch.save({"a": torch.ones(2)}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert tool.read_tensors(path, ["0" * 64, sha256])["a"].tolist() == [1, 1]
    assert f"SHA-256 {sha256}" in capsys.readouterr().out

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was opened")

    for name in ("torch.load", "torch.serialization.get_unsafe_globals_in_checkpoint", "zipfile.is_zipfile"):
        monkeypatch.setattr(name, never)
    with pytest.raises(DataError, match=f"not the file that is meant.*{sha256}"):
        tool.read_tensors(path, ["0" * 64])


# --- folders of .bin ---


def bin_folder(path: Path) -> dict[str, State]:
    """Any tensors in the layout of diffusers, the U-Net in two pieces and the projection converted already."""
    found = {}
    for number, part in enumerate(("image_encoder", "vae", "unet", "clip_camera_projection")):
        (path / part).mkdir(parents=True)
        draw = torch.Generator().manual_seed(number)
        found[part] = {f"{part}.{k}": torch.rand(3, generator=draw) for k in range(3)}
        if part != "clip_camera_projection":
            (path / part / "config.json").write_text(f'{{"of": "{part}"}}')
    torch.save(found["image_encoder"], path / "image_encoder" / "pytorch_model.bin")
    torch.save(found["vae"], path / "vae" / "diffusion_pytorch_model.bin")
    names = sorted(found["unet"])
    for number, piece in enumerate((names[:2], names[2:])):
        file = path / "unet" / f"diffusion_pytorch_model-0000{number + 1}-of-00002.bin"
        torch.save({name: found["unet"][name] for name in piece}, file)
    torch.save(found["clip_camera_projection"], path / "clip_camera_projection" / "diffusion_pytorch_model.bin")
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text('{"beta_start": 1}')
    return found


def test_a_folder_of_bin_files(tool: ModuleType, tmp_path: Path) -> None:
    state = bin_folder(tmp_path / "bin")
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "bin").rglob("*.bin")]
    told = [word for sha256 in hashes for word in ("--sha256", sha256)]
    tool.main(["diffusers", str(tmp_path / "bin"), str(tmp_path / "out"), *told])
    for part, tensors in state.items():
        name = "model" if part == "image_encoder" else "diffusion_pytorch_model"
        found = read_safetensors(tmp_path / "out" / part / f"{name}.safetensors")
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)
    assert (tmp_path / "out" / PROJECTION).is_file()
    assert read_json(tmp_path / "out" / "vae" / "config.json") == {"of": "vae"}
    assert read_json(tmp_path / "out" / "scheduler" / "scheduler_config.json") == {"beta_start": 1}
    assert not list((tmp_path / "out").rglob("*.bin"))
    with pytest.raises(SystemExit, match="not the file that is meant"):
        tool.main(["diffusers", str(tmp_path / "bin"), str(tmp_path / "again"), *told[:-2]])
    with pytest.raises(SystemExit, match="out is there already"):
        tool.main(["diffusers", str(tmp_path / "bin"), str(tmp_path / "out")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "out"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("unet/diffusion_pytorch_model-00001-of-00002.bin", "unet lacks a piece"),
        ("unet/diffusion_pytorch_model-00002-of-00002.bin", "unet lacks a piece"),
        ("vae/diffusion_pytorch_model.bin", "vae has no file of weights"),
        ("vae/config.json", "vae has no config"),
        ("scheduler/scheduler_config.json", "does not exist"),
    ],
)
def test_a_folder_that_lacks_something(tool: ModuleType, tmp_path: Path, missing: str, message: str) -> None:
    bin_folder(tmp_path / "bin")
    (tmp_path / "bin" / missing).unlink()
    with pytest.raises(DataError, match=message):
        tool.convert_folder(tmp_path / "bin", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_a_converted_folder_guides_as_before(tool: ModuleType, tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "tiny")
    shutil.copytree(source, tmp_path / "bin")
    for path in (tmp_path / "bin").rglob("*.safetensors"):
        name = "pytorch_model" if path.name == "model.safetensors" else path.stem
        torch.save(read_safetensors(path), path.with_name(f"{name}.bin"))
        path.unlink()
    with pytest.raises(DataError, match=r"convert_weights\.py diffusers.*convert_weights\.py zero123"):
        made(tmp_path / "bin")
    tool.convert_folder(tmp_path / "bin", tmp_path / "out")
    losses = [made(path).sds(photo()[None], POSES[:1], 0.5, generator()).loss for path in (source, tmp_path / "out")]
    assert torch.equal(*losses)


# --- Real-ESRGAN ---


def rrdb(features: int = 8, blocks: int = 2, grown: int = 32) -> State:
    """basicsr.archs.rrdbnet_arch.RRDBNet, x 4."""
    made = Shapes(3)
    made.layer("conv_first", features, 3, 3, 3)
    for block in range(blocks):
        for dense in range(1, 4):
            for conv in range(1, 6):
                out = grown if conv < 5 else features
                made.layer(f"body.{block}.rdb{dense}.conv{conv}", out, features + (conv - 1) * grown, 3, 3)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        made.layer(name, features, features, 3, 3)
    made.layer("conv_last", 3, features, 3, 3)
    return made.state


def test_real_esrgan(tool: ModuleType, tmp_path: Path) -> None:
    state = rrdb()
    plain = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save({"params": plain, "params_ema": state}, tmp_path / "a.pth")
    tool.main(["realesrgan", str(tmp_path / "a.pth"), str(tmp_path / "a.safetensors")])
    found = read_safetensors(tmp_path / "a.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)  # the averages
    torch.save({"params": {name: value for name, value in state.items() if name != "conv_up2.weight"}}, tmp_path / "b")
    with pytest.raises(DataError, match=r"lacks 'conv_up2\.weight'"):
        tool.convert_enlarger(tmp_path / "b", tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_spandrel_reads_what_was_converted(tool: ModuleType, tmp_path: Path) -> None:
    spandrel = pytest.importorskip("spandrel", reason="the extra superres is not installed")
    torch.save({"params_ema": rrdb()}, tmp_path / "a.pth")
    tool.convert_enlarger(tmp_path / "a.pth", tmp_path / "a.safetensors")
    network = spandrel.ModelLoader().load_from_state_dict(read_safetensors(tmp_path / "a.safetensors")).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)
