"""A folder of reference numbers beside our VLM of the same weights: what the parity tests of all families share.

Widths, batch sizes, identifiers and settings are those of the folder's own files, so that another set of the same
format is checked as this one is.
"""

import json
from collections.abc import Iterator

import engine.core.device  # noqa: F401

import torch
from safetensors.torch import load_file

from engine.vlms.base import Losses

FEATURES, PENALTY, GRADIENT = 1e-5, 5e-5, 2e-4
"""Relative errors that the READMEs of the folders suggest."""
CASES = ("no_concept", "initial", "trained", "two_concepts")


class IdTokenizer:
    """The ids are given: only the special ones are needed, and text is ids with blanks between them."""

    def __init__(self, *, pad, eos, bos=None):
        self.pad_token_id, self.eos_token_id, self.bos_token_id = pad, eos, bos

    def batch_decode(self, ids, skip_special_tokens):
        return [" ".join(map(str, i.tolist())) for i in ids]


class Reference:
    """Settings, inputs and expected tensors of a folder.

    A subclass sets `vlm`, `seen` (the encoded photos), `ids` and `labels` (what is trained on) and `prompts`.
    """

    def __init__(self, folder):
        self.settings = json.loads((folder / "settings.json").read_text())
        self.config = json.loads((folder / "config.json").read_text())
        self.inputs = load_file(folder / "inputs.safetensors")
        self.expected = load_file(folder / "expected.safetensors")
        self.batch, self.image_rows = (self.settings[k] for k in ("batch_size", "num_image_tokens"))
        self.mixed = self.settings["mixed_has_concept"]

    def embedding(self, case):
        """Raw embeddings of a case, (K, D), with a gradient."""
        first, second = self.inputs["initial_embedding"], self.inputs["second_embedding"]
        of = {"no_concept": first[:0], "trained": second, "two_concepts": torch.cat([first, second])}
        return of.get(case, first).clone().requires_grad_()

    def each(self, embedding, has=None):
        """The embeddings of each photo of the batch: none where it has no concept."""
        return [embedding if h else embedding[:0] for h in has or [1] * self.batch]

    def rows(self, embedding, vlm=None):
        return torch.stack((vlm or self.vlm).inject(self.seen, self.each(embedding)))

    def losses(self, embedding, vlm=None, has=None):
        vlm, own = vlm or self.vlm, self.each(embedding, has)
        return vlm.loss(vlm.inject(self.seen, own), [len(e) for e in own], self.ids, self.labels)

    def greedy(self, embedding, *, has=None, prompts=None, vlm=None):
        """Greedy ids up to the end token; what follows is padding, whose amount depends on the batch."""
        vlm = vlm or self.vlm
        with torch.no_grad():
            rows = vlm.inject(self.seen, self.each(embedding.detach(), has))
        out = vlm.generate(rows, prompts or self.prompts, self.settings["max_new_tokens"])
        return [self._until_end([int(i) for i in g.text.split()]) for g in out]

    def expected_greedy(self, name):
        return [self._until_end(ids) for ids in self.expected[name].tolist()]

    def _until_end(self, ids):
        end = self.vlm.tokenizer.eos_token_id
        return ids[: ids.index(end)] if end in ids else ids

    def error(self, found, name):
        """The relative error of a tensor that the reference gave, too."""
        return relative(found, self.expected[name])

    def train(self, vlm) -> Iterator[tuple[int, Losses, torch.Tensor]]:
        """Free-running steps of the optimiser: number, losses before the update, embedding after it."""
        s, e = self.settings, torch.nn.Parameter(self.inputs["initial_embedding"].clone())
        optimizer = torch.optim.AdamW([e], s["learning_rate"], s["betas"], s["eps"], s["weight_decay"])
        for step in range(s["steps"]):
            losses = self.losses(e, vlm)
            optimizer.zero_grad()
            losses.total.backward()
            torch.nn.utils.clip_grad_norm_([e], s["grad_clip_l2"])
            optimizer.step()
            yield step, losses, e.detach()[0]


def check_training(settings, training):
    """Our defaults are what the reference used."""
    ours = (training.learning_rate, training.weight_decay, training.clip)
    assert ours == tuple(settings[k] for k in ("learning_rate", "weight_decay", "grad_clip_l2"))


def check_trajectory(reference, vlm, name, tolerance):
    """Every step of the training gives the reference's loss and embedding."""
    for step, losses, embedding in reference.train(vlm):
        for found, part in ((losses.total, "loss"), (embedding, "embedding_after")):
            assert relative(found, reference.expected[f"{name}.{part}"][step]) < tolerance, (step, part)


def check_sensitivity(reference, weight):
    """The first loss is out of tolerance with one weight of the language model changed by one percent."""
    with torch.no_grad():
        kept = weight.clone()
        weight.mul_(1.01)
        losses = reference.losses(reference.embedding("initial"))
        weight.copy_(kept)
    assert reference.error(losses.cross_entropy, "initial.ce") > FEATURES


def relative(a, b):
    """The relative L2 error of `a`."""
    assert a.shape == b.shape
    return float(((a - b).norm() / b.norm()).detach())
