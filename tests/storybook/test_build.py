import json
import subprocess
import sys

import engine.core.device  # noqa: F401

import pytest
import torch

from engine.storybook.build.dialogues import Mix, Turn, draw_turn
from engine.storybook.build.language_model import SoftRows, answer_loss, make_vlm
from engine.storybook.build.packing import pack
from engine.storybook.build.tokenizer import make_tokenizer
from engine.storybook.world.population import draw_population


def test_every_word_of_the_world_is_in_the_vocabulary():
    import numpy as np

    tokenizer = make_tokenizer()
    rng = np.random.default_rng(0)
    for scene, _ in draw_population(123, 200):
        turn = draw_turn(rng, scene, np.zeros((3, 4)), Mix(), mirrored=False)
        for text in (turn.request, turn.answer):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.unk_token_id not in ids, text
            assert tokenizer.decode(ids) == text


def test_packed_turns_are_the_same_as_turns_asked_alone():
    """Slot attention: a turn sees the image and itself, nothing of its neighbours."""
    tokenizer, soft = make_tokenizer(), SoftRows()
    vlm = make_vlm(tokenizer).eval()
    turns = [
        Turn("Please caption this image of sks.", "sks is on the beach.", ((3, 40),)),
        Turn("What color is the dog?", "The dog is red."),
        Turn("Please caption this image.", "A red dog is on the beach with a ball."),
    ]
    features = torch.randn(1, 64, 192, generator=torch.Generator().manual_seed(0))
    counts = [len(tokenizer(t.answer, add_special_tokens=False).input_ids) + 1 for t in turns]
    together = answer_loss(vlm, soft, features, pack(tokenizer, [turns], 64)) * sum(counts)
    alone = sum(
        answer_loss(vlm, soft, features, pack(tokenizer, [[t]], 64)) * n for t, n in zip(turns, counts, strict=True)
    )
    assert float((together - alone).detach().abs()) < 0.02 * float(alone.detach())


@pytest.mark.slow
def test_the_build_runs_from_nothing_and_resumes(tmp_path):
    """Every stage on next to no data; the finished folder has the layout that the registry loads."""
    command = [sys.executable, "-W", "ignore", "-m", "engine.storybook.build", "--tiny"]
    command += ["--folder", str(tmp_path / "build"), "--out", str(tmp_path / "out")]
    for _ in range(2):
        result = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert result.returncode == 0, result.stderr[-2000:]
    assert "vision: step 4 of 4" in result.stdout, "the second run resumes at the end of the first"
    out = tmp_path / "out"
    assert json.loads((out / "vlm" / "config.json").read_text())["model_type"] == "llava_next"
    assert {p.name for p in out.iterdir()} == {
        "vlm",
        "blip2",
        "minigpt",
        "tower",
        "encoder",
        "detector",
        "face_bank.safetensors",
        "faces",
        "bank.safetensors",
        "MODEL_CARD.md",
    }
    assert "named main" in (out / "MODEL_CARD.md").read_text()
