"""Stage 2's text: what is asked about a scene, with names given in words or in one soft row.

A *turn* is a request and its answer, with at most four soft rows that stand where MyVLM will put
concept embeddings: right after the image. A soft row states facts and a name ("red, dog, striped;
sks"). It teaches the language model that a row in this place describes somebody: the method's own
assumption about a large VLM, made true for a tiny one.
"""

from dataclasses import dataclass, replace

import numpy as np

from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import Rng, draw_category, draw_individual, pick
from engine.storybook.world.language import (
    Description,
    Facts,
    box_text,
    caption,
    caption_request,
    describe,
    distinct_descriptions,
    draw_style,
    facts_of,
    main_index,
    questions,
    refer_request,
)
from engine.storybook.world.scenes import Scene

FACT_VALUES: tuple[tuple[str, str], ...] = (
    *(("category", v) for v in words.CATEGORIES),
    *(("color", v) for v in words.COLORS),
    *(("pattern", v) for v in words.PATTERNS[1:]),
    *(("pattern_color", v) for v in words.PATTERN_COLORS),
    *(("accessory", v) for v in words.ACCESSORIES[1:]),
    *(("accessory_color", v) for v in words.ACCESSORY_COLORS),
    *(("hair_color", v) for v in words.HAIR_COLORS),
    *(("hair_style", v) for v in words.HAIR_STYLES),
    ("glasses", "yes"),
    ("beard", "yes"),
)
SOFT_ITEMS = {item: i for i, item in enumerate([*FACT_VALUES, *(("name", n) for n in words.IDENTIFIERS)])}
"""Everything a soft row can state: facts and names, numbered."""


@dataclass(frozen=True)
class Turn:
    """One request with its answer; `rows` holds a tuple of item numbers for each soft row."""

    request: str
    answer: str
    rows: tuple[tuple[int, ...], ...] = ()


HARD = ("positioned", "expression", "wearing?", "main subject", "large or small", "close to the camera", "unique")
"""Parts of the questions that are learned last."""


@dataclass(frozen=True)
class Mix:
    """How often each kind of turn is drawn (relative weights) and how often a name comes as a soft row."""

    caption: float = 1.0
    named_caption: float = 2.0
    two_names: float = 0.5
    wrong_name: float = 0.6
    bare_name: float = 0.25
    question: float = 1.0
    named_question: float = 1.0
    refer: float = 0.7
    named_refer: float = 0.5
    soft: float = 0.5
    hard: float = 1.0  # how much likelier than others a question of `HARD` is

    def only_captions(self) -> "Mix":
        """The same without questions and boxes."""
        return replace(self, question=0.0, named_question=0.0, refer=0.0, named_refer=0.0)


def draw_turn(rng: Rng, scene: Scene, boxes: np.ndarray, mix: Mix, *, mirrored: bool) -> Turn:
    """Draw a turn about a scene; boxes (3 or 4, 4) in 0..1. `mirrored` pictures get no questions of place."""
    kinds = ["caption", "named_caption", "two_names", "wrong_name", "bare_name", "question", "named_question"]
    kinds += [] if mirrored else ["refer", "named_refer"]
    weights = np.array([getattr(mix, k) for k in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    if kind == "two_names" and len(scene.characters) < 2:
        kind = "named_caption"
    if kind == "caption":
        return Turn(caption_request(), caption(scene, main_index(scene, rng), style=draw_style(rng)))
    if kind == "bare_name":
        return _unnamed(rng, scene, caption_request(pick(rng, words.IDENTIFIERS)), ())
    if kind == "wrong_name":
        return _wrong_name(rng, scene, mix)
    if kind in ("named_caption", "two_names"):
        most = len(scene.characters)
        return _named_caption(rng, scene, int(rng.integers(2, most + 1)) if kind == "two_names" else 1, mix)
    index = int(rng.integers(len(scene.characters)))
    options = distinct_descriptions(scene, index)
    if not options:
        return Turn(caption_request(), caption(scene, main_index(scene, rng), style=draw_style(rng)))
    if kind in ("question", "refer"):
        x, context, rows = f"the {options[_lean(rng, len(options))].phrase}", "", ()
    else:
        x = pick(rng, words.IDENTIFIERS)
        context, rows = introduce(rng, [(x, options[_lean(rng, len(options))])], soft=rng.random() < mix.soft)
    if kind in ("refer", "named_refer"):
        return Turn(context + refer_request(x), box_text(tuple(boxes[index]), 1, 1), rows)
    asked = questions(scene, index, x, mirrored=mirrored)
    odds = np.array([mix.hard if any(part in q for part in HARD) else 1.0 for q, _ in asked])
    question, answer = asked[int(rng.choice(len(asked), p=odds / odds.sum()))]
    return Turn(context + question, answer, rows)


def _lean(rng: Rng, n: int) -> int:
    """An index into n descriptions, from the shortest to the fullest, all equally likely."""
    return int(rng.integers(n))


def introduce(rng: Rng, named: list[tuple[str, Description]], *, soft: bool) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """Say who bears which name: as sentences, or as one soft row each."""
    if not soft:
        return "".join(f"{name} is the {d.phrase}. " for name, d in named), ()
    rows = []
    for name, d in named:
        items = [SOFT_ITEMS[fact] for fact in sorted(d.facts) if fact in SOFT_ITEMS]
        rows.append((*items, SOFT_ITEMS["name", name]))
    return "", tuple(rows)


def _named_caption(rng: Rng, scene: Scene, count: int, mix: Mix) -> Turn:
    chosen = rng.permutation(len(scene.characters))[:count]
    named, names = [], {}
    for i, identifier in zip(chosen, rng.permutation(len(words.IDENTIFIERS)), strict=False):
        options = distinct_descriptions(scene, int(i))
        if options:
            name = "sks" if not named and rng.random() < 0.1 else words.IDENTIFIERS[int(identifier)]
            names[int(i)] = name
            named.append((name, options[_lean(rng, len(options))]))
    if not named:
        return Turn(caption_request(), caption(scene, main_index(scene, rng), style=draw_style(rng)))
    context, rows = introduce(rng, named, soft=rng.random() < mix.soft)
    first = next(iter(names)) if rng.random() < 0.75 else main_index(scene, rng)
    answer = caption(scene, first, names, draw_style(rng))
    return Turn(context + caption_request(*names.values()), answer, rows)


def _unnamed(rng: Rng, scene: Scene, request: str, rows: tuple[tuple[int, ...], ...]) -> Turn:
    return Turn(request, caption(scene, main_index(scene, rng), style=draw_style(rng)), rows)


def _wrong_name(rng: Rng, scene: Scene, mix: Mix) -> Turn:
    wrong = wrong_description(rng, scene)
    if wrong is None:
        return _unnamed(rng, scene, caption_request(), ())
    name = pick(rng, words.IDENTIFIERS)
    context, rows = introduce(rng, [(name, wrong)], soft=rng.random() < mix.soft)
    return _unnamed(rng, scene, context + caption_request(name), rows)


def wrong_description(rng: Rng, scene: Scene) -> Description | None:
    """A description that fits nobody in the scene: of somebody else, or of a character with one fact changed."""
    for _ in range(8):
        if rng.random() < 0.5:
            facts = facts_of(draw_individual(rng, draw_category(rng)))
        else:
            c = scene.characters[int(rng.integers(len(scene.characters)))]
            facts = _changed(rng, facts_of(c.who))
        options = [d for d in _sub_descriptions(facts) if _fits_nobody(d.facts, scene)]
        if options:
            return options[_lean(rng, len(options))]
    return None


def _changed(rng: Rng, facts: Facts) -> Facts:
    fact = sorted(facts)[int(rng.integers(len(facts)))]
    values = [v for key, v in FACT_VALUES if key == fact[0] and v != fact[1]]
    if fact[0] == "category":
        kind = words.kind_of(fact[1])
        values = [v for v in values if words.kind_of(v) == kind]
    return facts - {fact} | ({(fact[0], pick(rng, tuple(values)))} if values else set())


def _fits_nobody(facts: Facts, scene: Scene) -> bool:
    return not any(facts <= facts_of(c.who) for c in scene.characters)


def _sub_descriptions(facts: Facts) -> list[Description]:
    keep = ("category", "color", "hair_color"), ("category", "color", "pattern", "hair_color", "hair_style")
    parts = [frozenset(f for f in facts if f[0] in keys) for keys in keep]
    return [describe(p) for p in (*parts, facts)]
