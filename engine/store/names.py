"""Concept names: what is stored faithfully, and what is refused."""

import unicodedata

from engine.core.errors import NameRefusedError

LONGEST = 200
_JOINERS = "\u200c\u200d"  # needed by Persian, Indic scripts and emoji


def check_name(name: str) -> str:
    """Return the name unchanged when it can be stored, printed and written into XMP faithfully.

    Raises:
        NameRefusedError: empty, too long, with control or invisible characters, with white space at
            an end, starting with a dash, or with a comma (which separates names in `--concepts`).
    """
    if not name.strip():
        raise NameRefusedError("a concept needs a name", hint="Give it one visible character at least.")
    if len(name) > LONGEST:
        raise NameRefusedError(
            f"the name has {len(name)} characters, more than {LONGEST}", hint="Choose a shorter one."
        )
    if name != name.strip():
        raise NameRefusedError(f"the name {name!r} starts or ends with white space", hint="Leave it out.")
    if name.startswith("-"):
        raise NameRefusedError(f"the name {name!r} starts with a dash", hint="It would be read as an option.")
    if "," in name:
        raise NameRefusedError(f"the name {name!r} has a comma", hint="Commas separate names in --concepts a,b.")
    for character in name:
        category = unicodedata.category(character)
        if category in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") or (category == "Cf" and character not in _JOINERS):
            raise NameRefusedError(
                f"the name {name!r} has a character that cannot be written (U+{ord(character):04X})",
                hint="Leave out control and invisible characters.",
            )
    return name
