"""A tiny open_clip model with a text tower, in the format of the hub, and a recogniser that uses it."""

import json
import shutil
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

SIDE, WIDTH = 32, 16
MODEL = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def make_open_clip(folder: Path, seed: int = 0) -> Path:
    """Write a model with random weights; the same seed gives the same bytes."""
    import engine.core.device  # noqa: F401

    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = open_clip.CLIP(WIDTH, MODEL["vision_cfg"], MODEL["text_cfg"])
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))
    return folder


def add_recogniser(folder: Path, encoder: Path, monkeypatch) -> None:
    """Let myvlm know a recogniser `tiny` that differs from `dfn5b` in its encoder, and finds faces as `storybook`."""
    from engine.vision import config

    shutil.copytree(str(resources.files("engine.vision").joinpath("configs")), folder / "configs")
    texts = {name: json.loads((folder / "configs" / f"{name}.json").read_text()) for name in ("dfn5b", "storybook")}
    tiny = texts["dfn5b"] | {
        "name": "tiny",
        "encoder": f"local-dir:{encoder}",
        "pretrained": None,
        "encoder_repo": "",
        "encoder_edge": SIDE,
        "faces": texts["storybook"]["faces"],
    }
    (folder / "configs" / "tiny.json").write_text(json.dumps(tiny))
    monkeypatch.setattr(config, "resources", SimpleNamespace(files=lambda package: folder))
