"""The gates of storybook.md: what the VLM must be able to do before any concept is trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import engine.core.device  # noqa: F401

import numpy as np
import torch
from PIL import Image

from engine.core.boxes import Box, iou, parse_minigpt_box
from engine.storybook.build.dialogues import introduce, wrong_description
from engine.storybook.build.language_model import SoftRows
from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import pick
from engine.storybook.world.language import (
    PLACE_PHRASES,
    caption_description,
    caption_request,
    distinct_descriptions,
    questions,
    refer_request,
)
from engine.storybook.world.scenes import Character, Picture
from engine.vlms.base import ImageFeatures, Vlm
from engine.vlms.wording import has_word

TARGETS: dict[str, float] = {
    "caption category": 0.95,
    "caption color": 0.95,
    "caption place": 0.99,
    "caption object": 0.97,
    "caption color and category": 0.92,
    "caption second character": 0.90,
    "question": 0.90,
    "refer IoU > 0.5": 0.92,
    "named main": 0.98,
    "named second": 0.90,
}
LIMITS: dict[str, float] = {"named though wrong": 0.10, "named though bare": 0.02}
"""Gates from above: a name whose description fits nobody, or that has none, must not be used."""
_BATCH = 40


@dataclass(frozen=True)
class _Case:
    """One prompt about one picture, and how its answer is judged."""

    picture: int
    request: str
    rows: tuple[tuple[int, ...], ...]
    judge: Callable[[str], dict[str, bool]]


Ask = Callable[[str, bool], str | None]
"""How a VLM is asked: a request of this world, and whether rows say who is meant, to the VLM's own request; None
where it cannot be asked.
"""


def run_gates(
    vlm: Vlm, soft: SoftRows | None, pictures: list[Picture], ask: Ask = lambda request, _: request, seed: int = 0
) -> dict[str, float]:
    """Shares of right answers over held-out pictures; with `soft`, naming by soft rows too."""
    seen = _encode(vlm, [p.image for p in pictures])
    cases: list[_Case] = []
    for i, picture in enumerate(pictures):
        rng = np.random.default_rng((seed, i))
        cases += _caption_cases(i, picture)
        cases += _naming_cases(rng, i, picture, soft=False)
        cases += _naming_cases(rng, i, picture, soft=True) if soft else []
        cases += _question_cases(rng, i, picture)
    asked = ((case, ask(case.request, bool(case.rows))) for case in cases)
    cases = [replace(case, request=request) for case, request in asked if request is not None]
    found: dict[str, list[bool]] = {}
    for start in range(0, len(cases), _BATCH):
        batch = cases[start : start + _BATCH]
        for case, text in zip(batch, _generate(vlm, soft, seen, batch), strict=True):
            for name, hit in case.judge(text).items():
                found.setdefault(name, []).append(hit)
    return {name: round(float(np.mean(hits)), 4) for name, hits in sorted(found.items())}


def missed(results: dict[str, float]) -> dict[str, tuple[float, float]]:
    """The gates that were measured and are not passed: name to (value, target)."""
    low = {n: (results[n], t) for n, t in TARGETS.items() if n in results and results[n] < t}
    return low | {n: (results[n], t) for n, t in LIMITS.items() if n in results and results[n] > t}


def _encode(vlm: Vlm, images: list[Image.Image]) -> ImageFeatures:
    parts = [vlm.encode(vlm.preprocess(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
    return ImageFeatures(torch.cat([p.features for p in parts]), torch.cat([p.norms for p in parts]))


def _generate(vlm: Vlm, soft: SoftRows | None, seen: ImageFeatures, batch: list[_Case]) -> list[str]:
    at = [c.picture for c in batch]
    with torch.no_grad():
        rows = [soft(list(c.rows)) if soft and c.rows else torch.zeros(0, vlm.width) for c in batch]
    injected = vlm.inject(ImageFeatures(seen.features[at], seen.norms[at]), rows)
    return [g.text for g in vlm.generate(injected, [vlm.encode_prompt(c.request) for c in batch], 64)]


def color_of(c: Character) -> str:
    """A character's main colour word; people's is that of their hair."""
    return c.who.hair_color if c.who.category in words.PEOPLE else c.who.color  # type: ignore[union-attr]


def said_together(c: Character, text: str) -> bool:
    """Whether a text has the category with its colour: "red dog", "woman with long red hair"."""
    if c.who.category in words.PEOPLE:
        return caption_description(c.who).phrase in text
    return f"{color_of(c)} {c.who.category}" in text


def _caption_cases(i: int, picture: Picture) -> list[_Case]:
    scene = picture.scene
    main, others = scene.characters[0], scene.characters[1:]
    held = {c.holds for c in scene.characters if c.holds}

    def judge(text: str) -> dict[str, bool]:
        found = {
            "caption category": has_word(text, main.who.category),
            "caption color": has_word(text, color_of(main)),
            "caption color and category": said_together(main, text),
            "caption place": PLACE_PHRASES[scene.place] in text.lower(),
            "caption object": {o for o in words.OBJECTS if has_word(text, o)} == held,
        }
        if others:
            found["caption second character"] = said_together(others[0], text)
        return found

    return [_Case(i, caption_request(), (), judge)]


def _naming_cases(rng: np.random.Generator, i: int, picture: Picture, *, soft: bool) -> list[_Case]:
    scene, prefix = picture.scene, "soft " if soft else ""
    cases = []
    for index in range(min(2, len(scene.characters))):
        options = distinct_descriptions(scene, index)
        if options:
            name = pick(rng, words.IDENTIFIERS)
            context, rows = introduce(rng, [(name, options[-1])], soft=soft)
            key = f"{prefix}named {'second' if index else 'main'}"
            judge = _naming_judge(key, name, [c for k, c in enumerate(scene.characters) if k != index])
            cases.append(_Case(i, context + caption_request(name), rows, judge))
    name = pick(rng, words.IDENTIFIERS)
    wrong = wrong_description(rng, scene)
    if wrong:
        context, rows = introduce(rng, [(name, wrong)], soft=soft)
        cases.append(_Case(i, context + caption_request(name), rows, _named(f"{prefix}named though wrong", name)))
    if not soft:
        cases.append(_Case(i, caption_request(name), (), _named("named though bare", name)))
    return cases


def _naming_judge(key: str, name: str, others: list[Character]) -> Callable[[str], dict[str, bool]]:
    def judge(text: str) -> dict[str, bool]:
        found = {key: has_word(text, name)}
        if others:
            found[f"{key}, companion right"] = said_together(others[0], text)
        return found

    return judge


def _named(key: str, name: str) -> Callable[[str], dict[str, bool]]:
    return lambda text: {key: has_word(text, name)}


def _question_cases(rng: np.random.Generator, i: int, picture: Picture) -> list[_Case]:
    scene = picture.scene
    index = int(rng.integers(len(scene.characters)))
    options = distinct_descriptions(scene, index)
    if not options:
        return []
    x = f"the {options[int(rng.integers(len(options)))].phrase}"
    asked = questions(scene, index, x)
    question, truth = asked[int(rng.integers(len(asked)))]
    box = Box(*picture.boxes[index])

    def judge_box(text: str) -> dict[str, bool]:
        found = parse_minigpt_box(text, *picture.image.size)
        return {"refer IoU > 0.5": found is not None and iou(found, box) > 0.5}

    return [
        _Case(i, question, (), lambda text: {"question": text == truth}),
        _Case(i, refer_request(x), (), judge_box),
    ]
