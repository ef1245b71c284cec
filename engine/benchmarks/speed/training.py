"""Time the training of one concept: with kept views and prefixes, against the plain loop over whole sequences.

The plain loop is the trainer without views, as the paper trains: each step draws a new view of each photo, encodes it,
and runs forward and backward over the whole sequence. What comes before the first step is the same and is not timed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.benchmarks.benchmark import draw_subjects
from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.core.paths import STORYBOOK
from engine.photos.decode import load_photo
from engine.session import Session, SessionOptions
from engine.training.captions import vary
from engine.vlms.wording import replace_words

if TYPE_CHECKING:
    from engine.training.optimiser import TrainingExample
    from engine.vlms.base import Vlm

STEPS = 100
"""Steps of each training, as many as LLaVA-1.6 takes in the paper."""
VIEWS = 8
"""Views of each photo, as many as VLMs for real photos keep."""
_IDENTIFIER = "sks"


@dataclass(frozen=True)
class Sizes:
    """The sizes of a LLaVA that decide what a training step costs.

    layers, width, inner, vocabulary: of the language model; vision_layers, vision_width, vision_inner: of those layers
    of the vision tower that are run. rows: image rows; head: tokens before them; behind: rows from the concept row on;
    targets: supervised tokens among them.
    """

    layers: int = 32
    width: int = 4096
    inner: int = 11008
    vocabulary: int = 32064
    vision_layers: int = 23
    vision_width: int = 1024
    vision_inner: int = 4096
    rows: int = 576
    head: int = 35
    behind: int = 36
    targets: int = 18


LLAVA_7B = Sizes()
"""LLaVA-1.6 with Vicuna-7B, from its config: Llama-2-7B, and the first 23 of CLIP-L/336's 24 layers. The numbers of
tokens are those of its prompt, counted with about 1.3 tokens a word, and of a caption of 14 words."""


@dataclass(frozen=True)
class Work:
    """TFLOP for one photo.

    plain: of a plain step; behind: of a step over the rows behind a kept prefix; view: of encoding one view and its
    prefix.
    """

    plain: float
    behind: float
    view: float

    def speedup(self, steps: int, views: int) -> float:
        """How many times less work a training is, with its views: steps · plain / (views · view + steps · behind)."""
        return steps * self.plain / (min(views, steps) * self.view + steps * self.behind)


def work_of(sizes: Sizes) -> Work:
    """Compute the work of a training step from a model's sizes.

    A multiplication with its addition is 2 FLOP. With S rows, a layer's linear parts cost 2 · S · (4 · D² + 3 · D · I)
    in a Llama and 2 · S · (4 · D² + 2 · D · I) in CLIP; attention of Q rows to K costs 4 · Q · K · D, and half of it
    where Q = K and attention is causal. Weights are frozen, so that the backward pass costs as much as the forward pass
    in linear parts, and twice as much in attention. The output layer is run on supervised rows only.

        plain  = vision + text(S) · forward and backward
        view   = vision + text(P) · forward
        behind = the B rows behind the prefix, attending to S rows · forward and backward
    """
    s = sizes
    prefix, whole = s.head + s.rows, s.head + s.rows + s.behind
    vision_rows = s.rows + 1
    vision = s.vision_layers * (
        2 * vision_rows * (4 * s.vision_width**2 + 2 * s.vision_width * s.vision_inner)
        + 4 * vision_rows**2 * s.vision_width
    )
    vision += 2 * s.rows * (s.vision_width * s.width + s.width**2)  # the projector
    linear = 2 * s.layers * (4 * s.width**2 + 3 * s.width * s.inner)  # of one row
    logits = 2 * s.targets * s.width * s.vocabulary
    attention = 4 * s.layers * s.width
    plain = vision + 2 * (whole * linear + logits) + 3 * attention * whole**2 / 2
    behind = 2 * (s.behind * linear + logits) + 3 * attention * s.behind * whole
    view = vision + prefix * linear + attention * prefix**2 / 2
    return Work(plain / 1e12, behind / 1e12, view / 1e12)


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Time the storybook's VLMs, and a small LLaVA with as many image rows as LLaVA-1.6 has."""
    return measure_training(settings, STEPS, VIEWS)


def measure_training(settings: SpeedSettings, steps: int, views: int) -> list[Measurement]:
    """Time trainings of some steps with some views.

    The LLaVA with 576 image rows, whose plain steps take long, gets a quarter of both.
    """
    rows = LLAVA_7B.rows
    vlms: tuple[tuple[str, str, str, int], ...] = (
        ("LLaVA, 64 image rows", "storybook", "≥ 4", 1),
        (f"LLaVA, {rows} image rows, random weights", "", "≥ 4", 4),
        ("MiniGPT-v2, 16 image rows", "storybook-minigpt", "", 1),
        ("BLIP-2", "storybook-blip2", "", 1),
        ("LLaVA by chat, 64 image rows", "storybook+chat", "", 1),
    )
    found = []
    for title, name, target, parts in vlms:
        vlm = _load(name, settings) if name else with_many_rows(settings.seed)
        trained = _Training(vlm, draw_examples(vlm, settings), max(1, steps // parts), max(1, views // parts))
        found.append(_measure(trained, title, target, settings))
    return found


@dataclass(frozen=True)
class _Training:
    """A VLM and what it is trained on."""

    vlm: "Vlm"
    examples: "Sequence[TrainingExample]"
    steps: int
    views: int

    @property
    def request(self) -> str:
        return self.vlm.config.request("caption_of", (_IDENTIFIER,))

    def run(self, views: int) -> None:
        """Train to the end; `views` 0 is the plain loop."""
        from engine.training.optimiser import EmbeddingTrainer

        plan = replace(self.vlm.config.training, steps=self.steps, views=views)
        for _ in EmbeddingTrainer(self.vlm, self.examples, self.request, plan, seed=0).run():
            pass


def _measure(trained: _Training, title: str, target: str, settings: SpeedSettings) -> Measurement:
    steps, views = trained.steps, trained.views
    ours, plain = in_turn(lambda: trained.run(views), lambda: trained.run(0), settings.rounds)
    work = work_of(LLAVA_7B)
    extra = {"gradient_difference": compare_gradients(trained.vlm, trained.examples, trained.request)}
    extra |= _share_behind(trained)
    if target:
        extra |= {
            "llava_7b_plain_step_tflop_a_photo": work.plain,
            "llava_7b_step_behind_tflop_a_photo": work.behind,
            "llava_7b_view_tflop": work.view,
            "llava_7b_times_less_work": work.speedup(STEPS, VIEWS),
        }
    kept, predicted = _kept_and_predicted(trained.vlm)
    return Measurement(
        "training",
        f"{title}: one concept, {len(trained.examples)} photos, {steps} steps",
        f"{views} views of each photo, encoded once, and {kept} at each step",
        "a new view at each step, and the whole sequence",
        ours,
        plain,
        target=target,
        predicted=predicted,
        extra=extra,
    )


def _kept_and_predicted(vlm: "Vlm") -> tuple[str, str]:
    """Return what a step computes where views are kept, and what that was expected to give."""
    from engine.vlms.prefix import PrefixVlm

    if isinstance(vlm, PrefixVlm) and vlm.caches_prefixes:
        most = "at most whole / behind rows where the text is long"
        return "the rows behind the photo", f"6 to 8 times with 576 image rows (a prototype); {most}"
    return "all but the vision tower", "what the vision tower takes of a step, which is not run again"


def _share_behind(trained: _Training) -> dict[str, float]:
    """Return how many rows of a sequence stand behind its photo, as a share; empty where prompts are not token ids."""
    from engine.vlms.decoder_prefixes import DecoderPrefixes

    vlm = trained.vlm
    if not isinstance(vlm, DecoderPrefixes):
        return {}
    ids, _ = vlm.encode_example(trained.request, trained.examples[0].captions[-1])
    prefix = vlm.prefix(vlm.encode(vlm.preprocess([trained.examples[0].image])), ids).length
    behind = len(ids) - ids.index(vlm.placeholder)  # the concept row takes the placeholder's place
    return {"share_of_rows_behind": behind / (prefix + behind)}


def compare_gradients(vlm: "Vlm", examples: "Sequence[TrainingExample]", request: str) -> float:
    """Return the L2 norm of the difference of the gradients of both ways, divided by the gradient's own norm.

    The photos are not augmented, so that both ways see the same.
    """
    import torch

    from engine.vlms.prefix import PrefixVlm

    ids, labels = map(list, zip(*(vlm.encode_example(request, e.captions[0]) for e in examples), strict=True))
    initial = torch.rand(1, vlm.width, generator=torch.Generator().manual_seed(0))
    whole, behind = (initial.clone().requires_grad_() for _ in range(2))
    features = vlm.encode(vlm.preprocess([e.image for e in examples]))
    vlm.loss(vlm.inject(features, [whole] * len(ids)), [1] * len(ids), ids, labels).total.backward()
    alone = [vlm.encode(vlm.preprocess([e.image])) for e in examples]
    if isinstance(vlm, PrefixVlm):
        seen = [(f, vlm.prefix(f, i)) for f, i in zip(alone, ids, strict=True)]
        vlm.loss_behind(seen, behind, ids, labels).total.backward()
    else:
        rows = [row for f in alone for row in vlm.inject(f, [behind])]
        vlm.loss(rows, [1] * len(ids), ids, labels).total.backward()
    assert whole.grad is not None
    assert behind.grad is not None
    return float((whole.grad - behind.grad).norm() / whole.grad.norm())


def _load(name: str, settings: SpeedSettings) -> "Vlm":
    return Session(SessionOptions(name, device="cpu"), settings.work / "home").vlm


def with_many_rows(seed: int) -> "Vlm":
    """Make a LLaVA with as many image rows as LLaVA-1.6 has: the storybook's with random weights and larger pictures.

    It has two layers in each part; a plain step of the storybook's five would take most of a second.
    """
    import torch
    from transformers import AutoProcessor, LlavaNextConfig, LlavaNextForConditionalGeneration

    from engine.vlms.find import find_config
    from engine.vlms.llava_next import LlavaNext

    folder, edge = STORYBOOK / "vlm", 384  # 24 × 24 patches of 16 pixels
    config: Any = LlavaNextConfig.from_pretrained(folder, local_files_only=True)  # its parts have wide unions
    for part in (config.vision_config, config.text_config):
        part.num_hidden_layers = 2
    config.vision_config.image_size = edge
    torch.manual_seed(seed)
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    processor.image_processor.size = {"shortest_edge": edge}
    processor.image_processor.crop_size = {"height": edge, "width": edge}
    return LlavaNext.of_one_tile(LlavaNextForConditionalGeneration(config), processor, find_config("storybook"))


def draw_examples(vlm: "Vlm", settings: SpeedSettings) -> "list[TrainingExample]":
    """Draw the four training photos of a concept of the storybook, with the world's own captions."""
    from engine.training.augment import working_size
    from engine.training.optimiser import TrainingExample
    from engine.training.reference_photos import WORKING_EDGES

    subject = draw_subjects(settings.work / "training", settings.seed, 1)[0]
    texts = [replace_words(subject.captions[p.path.name], {subject.name: _IDENTIFIER}) for p in subject.photos]
    images = [working_size(load_photo(p.path).image, WORKING_EDGES * vlm.image_edge) for p in subject.photos]
    openings = vlm.config.openings
    return [TrainingExample(i, vary(t, _IDENTIFIER, openings)) for i, t in zip(images, texts, strict=True)]
