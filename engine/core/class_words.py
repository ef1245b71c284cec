"""Class words: which kind of concept a word like "dog" or "daughter" stands for."""

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


GENERIC = frozenset({"thing", "object", "item", "pet", "animal"})
"""Words that say so little that a caption will not use them."""


def nouns_of(kind: Kind, category: str) -> tuple[str, ...]:
    """Words by which a caption may speak of a concept: its own, and for people every word for a person."""
    own = () if category in GENERIC else (category,)
    return own + (tuple(sorted(PEOPLE - {category})) if kind is Kind.PERSON else ())


def kind_of_word(category: str) -> Kind:
    """Kind of a class word: its last word decides ("golden retriever dog" is a pet)."""
    last = category.casefold().split()[-1] if category.split() else ""
    if last in PEOPLE:
        return Kind.PERSON
    return Kind.PET if last in ANIMALS else Kind.THING
