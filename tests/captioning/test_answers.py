"""VLMs that only caption, and trainings that leave the finite numbers."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import engine.core.device  # noqa: F401

import pytest
import torch

from engine.captioning.answer import answer_question
from engine.captioning.caption import caption_photos
from engine.captioning.caption_run import CaptionRequest
from engine.core.errors import DivergedError
from engine.photos.decode import load_photo
from engine.vlms import generate
from engine.vlms.base import Losses
from engine.vlms.config import list_configs
from engine.vlms.find import find_config
from tests.learned import draw_album, train


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("ask", "{album}", "Where is Rex?"), "storybook-blip2 only captions"),
        (("train", "rex", "--task", "vqa"), "storybook-blip2 only captions"),
        (("locate", "rex", "{album}", "--method", "refer"), "storybook-blip2 does not answer with boxes"),
    ],
)
def test_what_a_vlm_cannot_do_is_said_before_it_is_loaded(myvlm, session, tmp_path, command, words):
    draw_album(tmp_path / "album")
    result = myvlm(*(c.format(album=tmp_path / "album") for c in command), "--vlm", "storybook-blip2")
    assert (result.code, words in result.err) == (2, True), result.err


def test_the_environment_cannot_let_a_command_use_the_network():
    code = """
    from engine.core.paths import go_online, stay_offline
    stay_offline()
    import huggingface_hub.constants as hub
    print(hub.HF_HUB_OFFLINE)
    """
    if_online = code.replace("stay_offline()", "go_online()")
    environment = os.environ | {"TRANSFORMERS_OFFLINE": "0"}
    for text, value, expected in ((code, "0", "True"), (if_online, "1", "False")):
        told = environment | {"HF_HUB_OFFLINE": value}
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(text)], env=told, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == expected


def test_only_one_vlm_cannot_answer():
    assert [c.name for c in list_configs() if not c.answers] == ["storybook-blip2"]
    assert find_config("llava-1.6+anyres").batch < find_config("llava-1.6").batch < find_config("storybook").batch


def test_no_more_photos_at_a_time_than_the_config_says(session, tmp_path, monkeypatch):
    draw_album(tmp_path / "album")
    photos = sorted((tmp_path / "album").iterdir())
    config = replace(session.vlm_config, batch=2)
    session.vlm_config = session.vlm.config = config
    sizes = []
    run_vlm = session.vlm.generate
    monkeypatch.setattr(
        session.vlm, "generate", lambda rows, ids, limit=None: sizes.append(len(ids)) or run_vlm(rows, ids)
    )
    assert len(list(caption_photos(session, photos, CaptionRequest((), write=False)))) == 3
    assert len(list(answer_question(session, photos, "What is in the image?"))) == 3
    assert sizes == [2, 1] * 2
    sizes.clear()
    image = load_photo(photos[0]).image
    said = generate.ask_plain(session.vlm, [image, image], [["What is in the image?"] * 3, []])
    assert ([len(own) for own in said], sizes) == ([3, 0], [2, 1])


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_training_that_diverges_stores_nothing(session, monkeypatch, where):
    concept = session.store.get("Rex")
    before = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
    steps = iter(range(100))

    def loss(seen, embedding, *_, **__):
        value = embedding.pow(2).sum()
        bad = (value - value.detach()).sqrt() if where == "gradient" else value * torch.inf
        return Losses(bad if next(steps) == 2 else value, torch.zeros(()))

    monkeypatch.setattr(session.vlm, "loss_behind", loss)
    with pytest.raises(DivergedError, match=f"'Rex'.*{where} is (inf|nan) at step 3 of 5, in float32") as caught:
        train(session, "Rex", steps=5)
    assert "--dtype" in caught.value.hint
    after = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
    assert (after == before).all()


def test_training_for_questions_leaves_captions_up_to_date(myvlm, session, tmp_path):
    draw_album(tmp_path / "album")
    assert {p["status"] for p in myvlm("caption", tmp_path / "album", "--jsonl").lines} == {"ok"}
    train(session, "Anna", steps=1, task="vqa")
    assert {p["status"] for p in myvlm("caption", tmp_path / "album", "--jsonl").lines} == {"unchanged"}
    train(session, "Anna", steps=2)
    found = {Path(p["file"]).name: p["status"] for p in myvlm("caption", tmp_path / "album", "--jsonl").lines}
    assert found == {"both.jpg": "ok", "nobody.jpg": "unchanged", "rex.jpg": "unchanged"}
