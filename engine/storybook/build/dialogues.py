"""Draw the language stages' text: requests about a scene, with names introduced in words or by soft rows.

A *turn* is a request with its answer and at most four soft rows. A soft row states facts and a name ("red, dog,
striped; sks") and stands where MyVLM puts concept embeddings: right after the image. It teaches a tiny language model
what the method assumes of a large one, that a row in this place describes an individual (`docs/storybook.md`,
"Soft rows").
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
"""Facts and names that a soft row can state, each with its number."""

SoftRow = tuple[int, ...]
"""Numbers of the items that one soft row states."""


@dataclass(frozen=True)
class Turn:
    """A request with its answer; `rows` holds the item numbers of each soft row."""

    request: str
    answer: str
    rows: tuple[SoftRow, ...] = ()


HARD = ("positioned", "expression", "wearing?", "main subject", "large or small", "close to the camera", "unique")
"""Words in the questions that take longest to learn."""


@dataclass(frozen=True)
class Mix:
    """Relative weights of the kinds of turns, and the probability `soft` that a name comes as a soft row."""

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
    hard: float = 1.0  # weight of a question of `HARD`, where others have 1

    def only_captions(self) -> "Mix":
        """Return the same mix without questions and boxes."""
        return replace(self, question=0.0, named_question=0.0, refer=0.0, named_refer=0.0)


def draw_turn(rng: Rng, scene: Scene, boxes: np.ndarray, mix: Mix, *, mirrored: bool) -> Turn:
    """Draw a turn about a scene; boxes (3 or 4, 4) in 0..1.

    `mirrored` pictures get no requests for boxes and no questions about positions.
    """
    kinds = ["caption", "named_caption", "two_names", "wrong_name", "bare_name", "question", "named_question"]
    kinds += [] if mirrored else ["refer", "named_refer"]
    weights = np.array([getattr(mix, k) for k in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    if kind == "two_names" and len(scene.characters) < 2:
        kind = "named_caption"
    if kind == "caption":
        return _plain_caption(rng, scene, caption_request())
    if kind == "bare_name":
        return _plain_caption(rng, scene, caption_request(pick(rng, words.IDENTIFIERS)))
    if kind == "wrong_name":
        return _wrong_name(rng, scene, mix)
    if kind in ("named_caption", "two_names"):
        count = int(rng.integers(2, len(scene.characters) + 1)) if kind == "two_names" else 1
        return _named_caption(rng, scene, count, mix)
    return _about_one(rng, scene, boxes, mix, kind, mirrored=mirrored)


def _about_one(rng: Rng, scene: Scene, boxes: np.ndarray, mix: Mix, kind: str, *, mirrored: bool) -> Turn:
    """Draw a question about one character, or a request for its box; `named_…` kinds use a name for it."""
    index = int(rng.integers(len(scene.characters)))
    options = distinct_descriptions(scene, index)
    if not options:
        return _plain_caption(rng, scene, caption_request())
    context = ""
    rows: tuple[SoftRow, ...] = ()
    if kind in ("question", "refer"):
        x = f"the {_pick_description(rng, options).phrase}"
    else:
        x = pick(rng, words.IDENTIFIERS)
        context, rows = introduce([(x, _pick_description(rng, options))], soft=rng.random() < mix.soft)
    if kind in ("refer", "named_refer"):
        return Turn(context + refer_request(x), box_text(tuple(boxes[index]), 1, 1), rows)
    asked = questions(scene, index, x, mirrored=mirrored)
    odds = np.array([mix.hard if any(part in q for part in HARD) else 1.0 for q, _ in asked])
    question, answer = asked[int(rng.choice(len(asked), p=odds / odds.sum()))]
    return Turn(context + question, answer, rows)


def _pick_description(rng: Rng, options: list[Description]) -> Description:
    return options[int(rng.integers(len(options)))]


def introduce(named: list[tuple[str, Description]], *, soft: bool) -> tuple[str, tuple[SoftRow, ...]]:
    """Introduce names with their descriptions: as sentences, or, if `soft`, as one soft row each."""
    if not soft:
        return "".join(f"{name} is the {d.phrase}. " for name, d in named), ()
    rows = []
    for name, d in named:
        items = [SOFT_ITEMS[fact] for fact in sorted(d.facts) if fact in SOFT_ITEMS]
        rows.append((*items, SOFT_ITEMS["name", name]))
    return "", tuple(rows)


def _named_caption(rng: Rng, scene: Scene, count: int, mix: Mix) -> Turn:
    chosen = rng.permutation(len(scene.characters))[:count]
    named: list[tuple[str, Description]] = []
    names: dict[int, str] = {}
    for i, identifier in zip(chosen, rng.permutation(len(words.IDENTIFIERS)), strict=False):
        options = distinct_descriptions(scene, int(i))
        if options:
            name = "sks" if not named and rng.random() < 0.1 else words.IDENTIFIERS[int(identifier)]
            names[int(i)] = name
            named.append((name, _pick_description(rng, options)))
    if not named:
        return _plain_caption(rng, scene, caption_request())
    context, rows = introduce(named, soft=rng.random() < mix.soft)
    first = next(iter(names)) if rng.random() < 0.75 else main_index(scene, rng)
    answer = caption(scene, first, names, draw_style(rng))
    return Turn(context + caption_request(*names.values()), answer, rows)


def _plain_caption(rng: Rng, scene: Scene, request: str, rows: tuple[SoftRow, ...] = ()) -> Turn:
    """Answer a request with a caption that uses no name."""
    return Turn(request, caption(scene, main_index(scene, rng), style=draw_style(rng)), rows)


def _wrong_name(rng: Rng, scene: Scene, mix: Mix) -> Turn:
    wrong = wrong_description(rng, scene)
    if wrong is None:
        return _plain_caption(rng, scene, caption_request())
    name = pick(rng, words.IDENTIFIERS)
    context, rows = introduce([(name, wrong)], soft=rng.random() < mix.soft)
    return _plain_caption(rng, scene, context + caption_request(name), rows)


def wrong_description(rng: Rng, scene: Scene) -> Description | None:
    """Draw a description that fits no character of the scene: of another individual, or with one fact changed.

    None if eight attempts give no such description.
    """
    for _ in range(8):
        if rng.random() < 0.5:
            facts = facts_of(draw_individual(rng, draw_category(rng)))
        else:
            c = scene.characters[int(rng.integers(len(scene.characters)))]
            facts = _changed(rng, facts_of(c.who))
        options = [d for d in _sub_descriptions(facts) if not any(d.facts <= facts_of(c.who) for c in scene.characters)]
        if options:
            return _pick_description(rng, options)
    return None


def _changed(rng: Rng, facts: Facts) -> Facts:
    fact = sorted(facts)[int(rng.integers(len(facts)))]
    values = [v for key, v in FACT_VALUES if key == fact[0] and v != fact[1]]
    if fact[0] == "category":
        kind = words.kind_of(fact[1])
        values = [v for v in values if words.kind_of(v) == kind]
    return facts - {fact} | ({(fact[0], pick(rng, tuple(values)))} if values else set())


def _sub_descriptions(facts: Facts) -> list[Description]:
    keep = ("category", "color", "hair_color"), ("category", "color", "pattern", "hair_color", "hair_style")
    parts = [frozenset(f for f in facts if f[0] in keys) for keys in keep]
    return [describe(p) for p in (*parts, facts)]
