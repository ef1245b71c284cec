"""Measure the gates: what a VLM must be able to do before any concept is trained (`docs/storybook.md`, "Gates").

Why some are not passed: `docs/experiments.md#naming-gates`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import engine.core.device  # noqa: F401

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.core.boxes import Box, iou, parse_minigpt_box
from engine.storybook.build.dialogues import SoftRow, introduce, wrong_description
from engine.storybook.build.language_model import SoftRows
from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import main_color, pick
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
"""Upper limits: how often a name is used although its description fits no character, or although it has none."""
_BATCH = 40


@dataclass(frozen=True)
class _Case:
    """One request about one picture, and how its answer is checked."""

    picture: int
    request: str
    rows: tuple[SoftRow, ...]
    check: Callable[[str], dict[str, bool]]


FormatRequest = Callable[[str, bool], str | None]
"""Turns a request of this world into a VLM's own request; None where the VLM has none. The second argument says whether
soft rows name a character.
"""


def run_gates(
    vlm: Vlm,
    soft: SoftRows | None,
    pictures: list[Picture],
    format_request: FormatRequest = lambda request, _: request,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the share of right answers over held-out pictures, by gate; with `soft`, also of names by soft rows."""
    encoded = _encode(vlm, [p.image for p in pictures])
    cases: list[_Case] = []
    for i, picture in enumerate(pictures):
        rng = np.random.default_rng((seed, i))
        cases += _caption_cases(i, picture)
        cases += _naming_cases(rng, i, picture, soft=False)
        cases += _naming_cases(rng, i, picture, soft=True) if soft else []
        cases += _question_cases(rng, i, picture)
    formatted = ((case, format_request(case.request, bool(case.rows))) for case in cases)
    cases = [replace(case, request=request) for case, request in formatted if request is not None]
    answers: dict[str, list[bool]] = {}
    for start in range(0, len(cases), _BATCH):
        batch = cases[start : start + _BATCH]
        for case, text in zip(batch, _generate(vlm, soft, encoded, batch), strict=True):
            for name, right in case.check(text).items():
                answers.setdefault(name, []).append(right)
    return {name: round(float(np.mean(right)), 4) for name, right in sorted(answers.items())}


def missed(results: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return the gates that were measured and not passed: name to (value, target)."""
    low = {n: (results[n], t) for n, t in TARGETS.items() if n in results and results[n] < t}
    return low | {n: (results[n], t) for n, t in LIMITS.items() if n in results and results[n] > t}


def _encode(vlm: Vlm, images: list[Image.Image]) -> tuple[Tensor, Tensor]:
    """Encode pictures: features (P, N, D) and norms (P,); all pictures are of one size, and so have N rows each."""
    parts = [vlm.encode(vlm.preprocess(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
    features = torch.stack([rows for part in parts for rows in part.features])
    return features, torch.cat([part.norms for part in parts])


def _generate(vlm: Vlm, soft: SoftRows | None, encoded: tuple[Tensor, Tensor], batch: list[_Case]) -> list[str]:
    features, norms = encoded
    at = [c.picture for c in batch]
    with torch.no_grad():
        rows = [soft(list(c.rows)) if soft and c.rows else torch.zeros(0, vlm.width) for c in batch]
    injected = vlm.inject(ImageFeatures(features[at], norms[at]), rows)
    return [g.text for g in vlm.generate(injected, [vlm.encode_prompt(c.request) for c in batch], 64)]


def mentions_with_color(c: Character, text: str) -> bool:
    """Tell whether a text has the category with its colour: "red dog", "woman with long red hair"."""
    if c.who.category in words.PEOPLE:
        return caption_description(c.who).phrase in text
    return f"{main_color(c.who)} {c.who.category}" in text


def _caption_cases(i: int, picture: Picture) -> list[_Case]:
    scene = picture.scene
    main, others = scene.characters[0], scene.characters[1:]
    held = {c.holds for c in scene.characters if c.holds}

    def check(text: str) -> dict[str, bool]:
        results = {
            "caption category": has_word(text, main.who.category),
            "caption color": has_word(text, main_color(main.who)),
            "caption color and category": mentions_with_color(main, text),
            "caption place": PLACE_PHRASES[scene.place] in text.lower(),
            "caption object": {o for o in words.OBJECTS if has_word(text, o)} == held,
        }
        if others:
            results["caption second character"] = mentions_with_color(others[0], text)
        return results

    return [_Case(i, caption_request(), (), check)]


def _naming_cases(rng: np.random.Generator, i: int, picture: Picture, *, soft: bool) -> list[_Case]:
    scene, prefix = picture.scene, "soft " if soft else ""
    cases = []
    for index in range(min(2, len(scene.characters))):
        options = distinct_descriptions(scene, index)
        if options:
            name = pick(rng, words.IDENTIFIERS)
            context, rows = introduce([(name, options[-1])], soft=soft)
            key = f"{prefix}named {'second' if index else 'main'}"
            check = _naming_check(key, name, [c for k, c in enumerate(scene.characters) if k != index])
            cases.append(_Case(i, context + caption_request(name), rows, check))
    name = pick(rng, words.IDENTIFIERS)
    wrong = wrong_description(rng, scene)
    if wrong:
        context, rows = introduce([(name, wrong)], soft=soft)
        check = _name_check(f"{prefix}named though wrong", name)
        cases.append(_Case(i, context + caption_request(name), rows, check))
    if not soft:
        cases.append(_Case(i, caption_request(name), (), _name_check("named though bare", name)))
    return cases


def _naming_check(key: str, name: str, others: list[Character]) -> Callable[[str], dict[str, bool]]:
    def check(text: str) -> dict[str, bool]:
        results = {key: has_word(text, name)}
        if others:
            results[f"{key}, companion right"] = mentions_with_color(others[0], text)
        return results

    return check


def _name_check(key: str, name: str) -> Callable[[str], dict[str, bool]]:
    return lambda text: {key: has_word(text, name)}


def _question_cases(rng: np.random.Generator, i: int, picture: Picture) -> list[_Case]:
    scene = picture.scene
    index = int(rng.integers(len(scene.characters)))
    options = distinct_descriptions(scene, index)
    if not options:
        return []
    x = f"the {options[int(rng.integers(len(options)))].phrase}"
    pairs = questions(scene, index, x)
    question, truth = pairs[int(rng.integers(len(pairs)))]
    true_box = Box(*picture.boxes[index])

    def check_box(text: str) -> dict[str, bool]:
        box = parse_minigpt_box(text, *picture.image.size)
        return {"refer IoU > 0.5": box is not None and iou(box, true_box) > 0.5}

    return [
        _Case(i, question, (), lambda text: {"question": text == truth}),
        _Case(i, refer_request(x), (), check_box),
    ]
