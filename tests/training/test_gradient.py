"""A gradient must reach the embedding: a quantisation that lets none pass is refused, not trained through."""

import engine.core.device  # noqa: F401

import pytest
import torch

from engine.core.errors import DivergedError
from engine.vlms.base import Losses
from tests.learned import train


def test_a_gradient_of_zero_at_the_first_step_is_refused_and_nothing_is_stored(session, monkeypatch):
    concept = session.store.get("Rex")
    before = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
    real = session.vlm.loss_behind

    def loss(seen, embedding, *rest, **options):
        losses = real(seen, embedding.detach(), *rest, **options)
        return Losses(losses.cross_entropy + 0.0 * embedding.sum(), losses.penalty)

    monkeypatch.setattr(session.vlm, "loss_behind", loss)
    with pytest.raises(DivergedError, match="no gradient passes through the frozen layers of storybook") as caught:
        train(session, "Rex", steps=3)
    assert "--quantise none" in caught.value.hint
    after = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
    assert (after == before).all()


def test_the_gradient_of_the_first_step_is_not_zero(session, monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *a: norms.append(clip(*a)) or norms[-1])
    train(session, "Rex", steps=1)
    assert norms[0] > 0
