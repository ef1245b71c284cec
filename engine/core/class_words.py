"""Class words: the kind of concept that a word like "dog" or "daughter" stands for."""

from engine.core.types import Kind

PEOPLE = frozenset(
    """
    person man woman boy girl child kid baby toddler human mother father mom mum dad daughter son sister
    brother aunt uncle cousin grandmother grandfather grandma grandpa wife husband friend lady gentleman
    teenager
    """.split()
)
ANIMALS = frozenset(
    """
    animal pet dog puppy cat kitten rabbit bunny hamster mouse rat ferret horse pony donkey cow sheep goat pig
    chicken hen rooster duck goose bird parrot budgie canary fish goldfish turtle tortoise lizard snake gecko
    frog bear elephant fox squirrel hedgehog monkey alpaca llama
    """.split()
)


_MADE = frozenset({"stuffed", "plush", "toy"})
GENERIC = frozenset({"thing", "object", "item", "pet", "animal"})
"""Words so general that captions do not use them."""

_BROADER = {
    "puppy": "dog", "kitten": "cat", "bunny": "rabbit", "pony": "horse", "goldfish": "fish", "tortoise": "turtle",
    **dict.fromkeys(("parrot", "budgie", "canary", "chicken", "hen", "rooster", "duck", "goose"), "bird"),
}  # fmt: skip


def are_other_animals(one: str, other: str) -> bool:
    """Return whether two class words are of different animals, by their last words: a cat is no "tabby dog".

    A word that is not known, or too general, is of no other animal.
    """
    words = {_BROADER.get(last, last) for text in (one, other) for last in text.casefold().split()[-1:]}
    return len(words & (ANIMALS - GENERIC)) == 2


def nouns_of(kind: Kind, category: str) -> tuple[str, ...]:
    """List the nouns that a caption may use for a concept: its class word, and for a person every word for a person."""
    nouns = () if category in GENERIC else (category,)
    return nouns + (tuple(sorted(PEOPLE - {category})) if kind is Kind.PERSON else ())


def kind_of_word(category: str) -> Kind:
    """Return the kind of a class word, decided by its last word ("golden retriever dog" is a pet).

    What is stuffed, or a toy, is a thing ("stuffed animal", "toy dog").
    """
    *before, last = category.casefold().split() or [""]
    if before and before[-1] in _MADE:
        return Kind.THING
    if last in PEOPLE:
        return Kind.PERSON
    return Kind.PET if last in ANIMALS else Kind.THING
