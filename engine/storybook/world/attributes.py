"""Define the vocabulary of the storybook's world and the RGB colours that its colour words stand for."""

from engine.storybook.world.canvas import Color

ANIMALS = ("dog", "cat", "rabbit", "bear", "duck", "elephant")
THINGS = ("mug", "car", "robot", "teapot", "backpack")
PEOPLE = ("man", "woman", "boy", "girl")
CATEGORIES = ANIMALS + THINGS + PEOPLE

COLORS: dict[str, Color] = {
    "red": (212, 44, 46),
    "orange": (243, 138, 32),
    "yellow": (248, 214, 58),
    "green": (58, 158, 66),
    "blue": (44, 104, 214),
    "purple": (132, 64, 186),
    "pink": (250, 150, 196),
    "brown": (128, 78, 42),
    "white": (246, 246, 242),
    "black": (42, 42, 50),
}
PATTERNS = ("plain", "striped", "spotted", "patchy")
PATTERN_COLORS = ("white", "black", "yellow")
ANIMAL_ACCESSORIES = ("none", "hat", "scarf", "bow", "crown", "glasses")
THING_ACCESSORIES = ("none", "bow", "star", "heart", "flag")
ACCESSORIES = ("none", "hat", "scarf", "bow", "crown", "glasses", "star", "heart", "flag")
ACCESSORY_COLORS = ("red", "yellow", "green", "blue", "pink", "white")
DETAILS = ("none", "belly", "socks", "eye patch", "muzzle", "tip")

HAIR_COLORS: dict[str, Color] = {
    "black": (38, 32, 34),
    "brown": (112, 68, 38),
    "blond": (238, 202, 98),
    "red": (194, 74, 34),
    "gray": (168, 168, 172),
}
HAIR_STYLES = ("short", "long", "curly", "spiky")
EYE_COLORS: dict[str, Color] = {"brown": (84, 50, 28), "blue": (50, 110, 190), "green": (50, 130, 80)}
SHIRT_COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
EXPRESSIONS = ("smiling", "sad", "surprised")
SKIN_LIGHT, SKIN_DARK = (252, 220, 192), (116, 72, 46)

ANIMAL_POSES = ("standing", "sitting", "sleeping", "jumping")
THING_POSES = ("standing", "lying")
PERSON_POSES = ("standing", "sitting", "jumping")
POSES = ("standing", "sitting", "sleeping", "jumping", "lying")

PLACES = ("beach", "forest", "kitchen", "bedroom", "snow", "city", "garden", "desert", "sofa")
OBJECTS = ("ball", "apple", "book", "balloon", "flower", "umbrella", "kite", "gift")
SIZES = ("small", "large")

NAMES = tuple(
    """
    Bob Anna Rex Bella Max Luna Charlie Lucy Cooper Daisy Milo Molly Buddy Sadie Rocky Chloe Bear Stella Duke
    Zoe Tucker Lily Jack Sophie Oliver Penny Toby Rosie Leo Ruby Finn Gracie Louie Coco Oscar Nala Sam Willow
    Jake Ellie Gus Maggie Henry Abby Ben Mia Tom Emma Tim Olivia Joe Ava Dan Nora Adam Ella Paul Maya Mark
    Clara Luke Alice John Julia Peter Laura Simon Sarah David Maria Kevin Helen Brian Diana Frank Irene George
    Karen Harry Linda Ivan Nina Karl Paula Liam Rita Martin Susan Nick Tina Otto Vera Philip Wendy Ralph Yara
    Steve Amy Victor Beth Walter Carla Alex Dora Bruno Eva Chris Fiona Eddie Gina Felix Hanna Gary Iris Hugo
    Jane Igor Kate Jim Lena Ken Mona Lars Nadia Mike Olga Neil Petra Omar Rosa Pablo Sara Quinn Tara Ray Uma
    Scott Viola Theo Willa Umar Xena Vince Yoko Wes Zara Yuri Amber Zack Blanche Ozzy Greta
    """.split()
)
"""Names that the language model learned to copy from its context."""
IDENTIFIERS = ("sks",) + NAMES
"""Words that concepts are learned under; `sks` is the rare word that the paper uses.

See `docs/method.md`, "Concepts, embeddings and training".
"""


def kind_of(category: str) -> str:
    """Return the kind of a category: `pet`, `thing` or `person`."""
    if category in ANIMALS:
        return "pet"
    return "thing" if category in THINGS else "person"
