"""Put scenes into words: descriptions, captions, questions with answers, referring expressions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import Figure, Individual, Person, Rng
from engine.storybook.world.scenes import Character, Scene

PLACE_PHRASES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "kitchen": "in the kitchen",
    "bedroom": "in the bedroom",
    "snow": "in the snow",
    "city": "in the city",
    "garden": "in the garden",
    "desert": "in the desert",
    "sofa": "on the sofa",
}
CAPTION_REQUEST = "Please caption this image."
CAPTION_STYLES = ("plain", "photo", "place", "picture", "here")
_STYLE_ODDS = (0.52, 0.12, 0.12, 0.12, 0.12)
_PATTERN_NOUNS = {"striped": "stripes", "spotted": "spots", "patchy": "patches"}
LARGE = 0.195
"""Half-height (page heights) from which a character is called large."""
CLOSE = 0.88
"""Ground height (page heights) from which a character is called close to the camera."""

Facts = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Description:
    """A noun phrase without its article ("red dog with a blue hat"), and the facts that it states."""

    phrase: str
    facts: Facts


def article(phrase: str) -> str:
    """Return the phrase with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def capital(text: str) -> str:
    """Return the text with a capital letter at its start; the identifier `sks` stays in lower case."""
    return text if text.split()[0].rstrip(".,") == "sks" else text[:1].upper() + text[1:]


def facts_of(who: Individual) -> Facts:
    """Return everything that the language can say about an individual."""
    if isinstance(who, Person):
        extras = [(n, "yes") for n in ("glasses", "beard") if getattr(who, n)]
        hair = [("hair_style", who.hair_style), ("hair_color", who.hair_color)]
        return frozenset([("category", who.category), *hair, *extras])
    facts = [("category", who.category), ("color", who.color)]
    if who.pattern != "plain":
        facts += [("pattern", who.pattern), ("pattern_color", who.pattern_color)]
    if who.accessory != "none":
        facts += [("accessory", who.accessory), ("accessory_color", who.accessory_color)]
    return frozenset(facts)


def describe(facts: Facts) -> Description:
    """Put facts into words; `category` must be among them."""
    values = dict(facts)
    phrase, tail = _describe_person(values) if values["category"] in words.PEOPLE else _describe_figure(values)
    return Description(phrase + (" with " + " and ".join(tail) if tail else ""), facts)


def _describe_person(values: Mapping[str, str]) -> tuple[str, list[str]]:
    tail = []
    if "hair_color" in values:
        tail.append(f"{values['hair_style'] + ' ' if 'hair_style' in values else ''}{values['hair_color']} hair")
    tail += [text for key, text in (("glasses", "glasses"), ("beard", "a beard")) if key in values]
    return values["category"], tail


def _describe_figure(values: Mapping[str, str]) -> tuple[str, list[str]]:
    adjectives = [values[key] for key in ("pattern", "color") if key in values]
    tail = []
    if "pattern_color" in values:
        tail.append(f"{values['pattern_color']} {_PATTERN_NOUNS[values['pattern']]}")
        adjectives = [a for a in adjectives if a != values["pattern"]]
    if "accessory" in values:
        noun = values["accessory"]
        noun = f"{values['accessory_color']} {noun}" if "accessory_color" in values else noun
        tail.append(noun if values["accessory"] == "glasses" else article(noun))
    return " ".join([*adjectives, values["category"]]), tail


def caption_description(who: Individual) -> Description:
    """Return how captions mention an individual without a name: by pattern, colour and category, or by hair."""
    keep = ("category", "color", "pattern", "hair_color", "hair_style")
    return describe(frozenset(f for f in facts_of(who) if f[0] in keep))


def iter_descriptions(who: Individual) -> Iterator[Description]:
    """Yield descriptions from the shortest to the fullest."""
    full = facts_of(who)
    levels = (
        ("category",),
        ("category", "color", "hair_color"),
        ("category", "color", "pattern", "hair_color", "hair_style"),
        ("category", "color", "pattern", "pattern_color", "hair_color", "hair_style", "glasses"),
        ("category", "color", "accessory", "accessory_color", "hair_color", "beard"),
    )
    for keys in levels:
        yield describe(frozenset(f for f in full if f[0] in keys))
    yield describe(full)


def distinct_descriptions(scene: Scene, index: int) -> list[Description]:
    """Return the descriptions of one character that fit no other character of the scene."""
    others = [facts_of(c.who) for i, c in enumerate(scene.characters) if i != index]
    descriptions = {d.phrase: d for d in iter_descriptions(scene.characters[index].who)}
    return [d for d in descriptions.values() if not any(d.facts <= other for other in others)]


def main_index(scene: Scene, rng: Rng) -> int:
    """Draw the character that a plain caption starts with: mostly the largest, any if two are about equally large."""
    n = len(scene.characters)
    if n > 1 and scene.characters[1].size > 0.97 * scene.characters[0].size:
        return int(rng.integers(n))
    return 0 if n == 1 or rng.random() < 0.92 else int(rng.integers(1, n))


def caption(scene: Scene, first: int, names: Mapping[int, str] | None = None, style: str = "plain") -> str:
    """Write a caption that starts with character `first`; `names` maps character indices to names."""
    names = names or {}
    c = scene.characters[first]
    subject = _mention(scene, first, names)
    place = PLACE_PHRASES[scene.place]
    held = _held(c)
    others = [i for i in range(len(scene.characters)) if i != first]
    beside = ""
    if others:
        beside = ", next to " + " and ".join(_mention(scene, i, names) + _held(scene.characters[i]) for i in others)
    if style == "photo":
        return f"A photo of {subject}{held} {c.pose} {place}{beside}."
    if style == "place":
        return f"{capital(place)}, {subject}{held} is {c.pose}{beside}."
    sentence = f"{subject} is {c.pose} {place}{held}{beside}."
    if style == "picture":
        return f"In this picture, {sentence}"
    return f"Here, {sentence}" if style == "here" else capital(sentence)


def draw_style(rng: Rng) -> str:
    """Draw a caption style; the plain one in 52 % of cases."""
    return CAPTION_STYLES[int(rng.choice(len(CAPTION_STYLES), p=_STYLE_ODDS))]


def _mention(scene: Scene, index: int, names: Mapping[int, str]) -> str:
    return names.get(index) or article(caption_description(scene.characters[index].who).phrase)


def _held(c: Character) -> str:
    return f" with {article(c.holds)}" if c.holds else ""


def caption_request(*names: str) -> str:
    """Return the request for a caption: of named characters, or of the picture."""
    return f"Please caption this image of {' and '.join(names)}." if names else CAPTION_REQUEST


def refer_request(x: str) -> str:
    """Return the request for a box, with MiniGPT-v2's task identifier `[refer]`."""
    return f"[refer] {x} in the image"


def box_text(box: tuple[float, float, float, float], width: int, height: int) -> str:
    """Write a box as MiniGPT-v2 does: `{<x0><y0><x1><y1>}`, integers 0..100 as shares of width and height."""
    x0, y0, x1, y1 = box
    values = (x0 / width, y0 / height, x1 / width, y1 / height)
    return "{" + "".join(f"<{round(100 * min(1.0, max(0.0, v)))}>" for v in values) + "}"


def questions(scene: Scene, index: int, x: str, *, mirrored: bool = False) -> list[tuple[str, str]]:
    """Return questions about a character with their answers (the paper's Table 3, adapted to this world).

    `x` is what the character is called, with its article if it needs one. If `mirrored`, questions are left out whose
    answer would change with a flip, a rotation or a zoom of the picture.
    """
    c = scene.characters[index]
    s = capital(x)
    pairs = [
        (f"Where is {x} in the image?", f"{s} is {PLACE_PHRASES[scene.place]}."),
        (
            f"What objects is {x} interacting with in the image?",
            f"{s} has {article(c.holds) if c.holds else 'nothing'}.",
        ),
        (f"What is {x} holding?", f"{s} is holding {article(c.holds) if c.holds else 'nothing'}."),
        (f"What is {x} doing in the image?", f"{s} is {c.pose}."),
        (f"Who is next to {x}?", _beside(scene, index)),
    ]
    pairs += _person_questions(c, c.who, x) if isinstance(c.who, Person) else _figure_questions(c.who, x)
    return pairs if mirrored else pairs + _position_questions(scene, index, x)


def _beside(scene: Scene, index: int) -> str:
    others = [article(caption_description(c.who).phrase) for i, c in enumerate(scene.characters) if i != index]
    return capital(" and ".join(others)) + "." if others else "Nobody."


def _position_questions(scene: Scene, index: int, x: str) -> list[tuple[str, str]]:
    c = scene.characters[index]
    side = "on the left" if c.x < 0.38 else "on the right" if c.x > 0.62 else "in the middle"
    largest = max(other.size for other in scene.characters)
    main = c.size > 0.97 * largest
    s = capital(x)
    return [
        (f"Where is {x} positioned in the image?", f"{s} is {side}."),
        (f"From left to right, where is {x} positioned in the image?", f"{s} is {side}."),
        (
            f"Does {x} appear to be the main subject of the image?",
            f"Yes, {x} is the main subject." if main else f"No, {x} is not the main subject.",
        ),
        (f"Is {x} large or small in the image?", f"{s} is {'large' if c.size >= LARGE else 'small'}."),
        (
            f"Is {x} close to the camera or far away?",
            f"{s} is {'close to the camera' if c.ground >= CLOSE else 'far away'}.",
        ),
    ]


_TEXTURES = {"duck": "feathery", "elephant": "wrinkly", "mug": "smooth", "teapot": "smooth", "car": "shiny"}
_TEXTURES |= {"robot": "shiny", "backpack": "soft"}
_MATERIALS = {"duck": "feathers", "elephant": "skin", "mug": "ceramic", "teapot": "ceramic", "car": "metal"}
_MATERIALS |= {"robot": "metal", "backpack": "fabric"}


def _figure_questions(who: Figure, x: str) -> list[tuple[str, str]]:
    s = capital(x)
    pattern = "" if who.pattern == "plain" else f" with {who.pattern_color} {_PATTERN_NOUNS[who.pattern]}"
    noun = f"{who.accessory_color} {who.accessory}"
    worn = "nothing" if who.accessory == "none" else noun if who.accessory == "glasses" else article(noun)
    return [
        (f"What color is {x}?", f"{s} is {who.color}{pattern}."),
        (f"How would you describe the texture of {x} in the image?", f"{s} is {_TEXTURES.get(who.category, 'furry')}."),
        (f"What types of materials is {x} be made of?", f"{s} is made of {_MATERIALS.get(who.category, 'fur')}."),
        (f"What is {x} wearing?", f"{s} is wearing {worn}."),
    ]


def _person_questions(c: Character, who: Person, x: str) -> list[tuple[str, str]]:
    s = capital(x)
    clothes = f"a {c.shirt} shirt" if c.shirt != "orange" else "an orange shirt"
    unique = [text for key, text in (("glasses", "glasses"), ("beard", "a beard")) if getattr(who, key)]
    return [
        (f"What is {x} wearing in the image?", f"{s} is wearing {clothes}."),
        (f"What color shirt is {x} wearing?", f"{s} is wearing {clothes}."),
        (f"Can you describe what {x} is wearing?", f"{s} is wearing {clothes}."),
        (f"What kind of hair does {x} have?", f"{s} has {who.hair_style} {who.hair_color} hair."),
        (f"What is the expression on {x} face?", f"{s} is {c.expression}."),
        (f"Is there anything unique about {x}'s appearance?", f"{s} has {' and '.join(unique) or 'nothing unique'}."),
    ]
