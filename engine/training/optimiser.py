"""Learning one concept embedding for one frozen VLM (method.md §1). Returns values, does no I/O."""

from collections.abc import Iterator
from dataclasses import dataclass

import engine.core.device  # noqa: F401

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.core.errors import DivergedError
from engine.training.augment import augment
from engine.training.questions import Turn
from engine.vlms.base import Vlm
from engine.vlms.config import Training

MOST_PHOTOS = 8
"""Photos in one step: all of them up to this many, else a fresh draw each step."""


@dataclass(frozen=True)
class Example:
    """A training photo and what may be said of it; every caption holds the concept's identifier.

    `questions` with their answers come beside the request for a caption when answering is learned.
    """

    image: Image.Image
    captions: tuple[str, ...]
    questions: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Step:
    """One finished optimisation step; losses are those before the update."""

    step: int
    steps: int
    cross_entropy: float
    penalty: float


def draw_turn(example: Example, request: str, rng: np.random.Generator) -> tuple[str, str]:
    """Draw a request and its answer: every question as often as the request for a caption, at every step.

    The published implementation draws differently and drifts to 92 % captions; the paper's mix is uniform.
    """
    turns = (Turn(request, example.captions), *example.questions)
    turn = turns[int(rng.integers(len(turns)))] if example.questions else turns[0]
    return turn.request, turn.answers[int(rng.integers(len(turn.answers)))]


class EmbeddingTrainer:
    """AdamW on one raw embedding; only its direction matters, because every forward normalises it.

    The same seed gives the same embedding on a CPU, whether or not training was interrupted: what a
    step draws depends on the seed and the step alone.
    """

    def __init__(
        self,
        vlm: Vlm,
        examples: list[Example],
        request: str,
        settings: Training,
        seed: int,
        *,
        penalty_weight: float | None = None,
    ) -> None:
        self.vlm, self.examples, self.request, self.settings, self.seed = vlm, examples, request, settings, seed
        self.penalty_weight = penalty_weight
        generator = torch.Generator().manual_seed(seed)
        first = torch.rand(1, vlm.width, generator=generator)
        self.embedding = torch.nn.Parameter((first / first.norm()).to(vlm.device))
        self.optimizer = torch.optim.AdamW(
            [self.embedding], lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step = 0

    def run(self) -> Iterator[Step]:
        """Train to the end, a step at a time; stop iterating to pause.

        Raises:
            DivergedError: the numbers are no longer finite.
        """
        while self.step < self.settings.steps:
            yield self._advance()

    def _advance(self) -> Step:
        rng = np.random.default_rng((self.seed, self.step))
        batch = self._draw(rng)
        images = [augment(e.image, rng) if self.settings.augment else e.image for e in batch]
        turns = [draw_turn(e, self.request, rng) for e in batch]
        seen = self.vlm.encode(self.vlm.preprocess(images))
        rows = self.vlm.inject(seen, [self.embedding] * len(batch))
        ids, labels = zip(*(self.vlm.encode_example(q, a) for q, a in turns), strict=True)
        losses = self.vlm.loss(rows, [1] * len(batch), list(ids), list(labels), penalty_weight=self.penalty_weight)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_([self.embedding], self.settings.clip)
        self._check_finite(losses.total.detach(), norm, seen.features[0].dtype)
        self.optimizer.step()
        self.step += 1
        return Step(
            self.step, self.settings.steps, float(losses.cross_entropy.detach()), float(losses.penalty.detach())
        )

    def _check_finite(self, loss: Tensor, norm: Tensor, dtype: torch.dtype) -> None:
        """Make sure that a step can be taken.

        Raises:
            DivergedError: the loss or the gradient's norm is not finite.
        """
        for name, value in (("loss", loss), ("gradient", norm)):
            if not torch.isfinite(value):
                format_ = str(dtype).removeprefix("torch.")
                raise DivergedError(
                    f"the {name} is {float(value)} at step {self.step + 1} of {self.settings.steps}, in {format_}",
                    hint="Train with --dtype float32 or --dtype bfloat16.",
                )

    def _draw(self, rng: np.random.Generator) -> list[Example]:
        if len(self.examples) <= MOST_PHOTOS:
            return self.examples
        return [self.examples[i] for i in rng.choice(len(self.examples), MOST_PHOTOS, replace=False)]

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on later: the raw embedding, AdamW's moments and the step."""
        moments = self.optimizer.state[self.embedding]
        found = {"embedding": self.embedding.detach().cpu(), "step": torch.tensor(self.step)}
        if moments:
            found |= {key: moments[key].detach().cpu() for key in ("exp_avg", "exp_avg_sq")}
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a saved state."""
        self.step = int(state["step"])
        with torch.no_grad():
            self.embedding.copy_(state["embedding"])
        if "exp_avg" in state:
            self.optimizer.state[self.embedding] = {
                "step": torch.tensor(float(self.step)),
                **{key: state[key].to(self.embedding.device).clone() for key in ("exp_avg", "exp_avg_sq")},
            }

    def result(self) -> Tensor:
        """The learned embedding as it is used: (1, D) float32, unit length, on the CPU."""
        e = self.embedding.detach().float().cpu()
        return e / e.norm(dim=-1, keepdim=True)
