"""Tags with a path: lr:hierarchicalSubject ("People|Anna") and digiKam:TagsList ("People/Anna").

Programs that find one of these properties ignore the keywords: Immich shows a TagsList and then nothing of dc:subject.
Therefore a property that myvlm begins also gets the user's keywords, and follows them as long as no other program
writes into it.
"""

from collections.abc import Sequence

from engine.sidecars.merge.ownership import HIERARCHY, RECORDS, SUBJECT, TAGS, Name
from engine.sidecars.merge.terms import SEPARATORS, NameRules, folded_name, leaf
from engine.sidecars.rdf.forms import term_key
from engine.sidecars.rdf.namespaces import MYVLM
from engine.sidecars.rdf.packet import Packet


def tag_paths(
    packet: Packet, target: Name, hierarchy: Sequence[str], rules: NameRules, *, begin: bool
) -> list[str] | None:
    """Return the paths that myvlm should have in a property, None if the property is to be left alone.

    A tag that the user keeps elsewhere in the tree is not added again.

    hierarchy: paths with "|". begin: the property may be begun.
    """
    present, records = packet.items(*target), packet.items(MYVLM, RECORDS[target])
    if not (present or records or (begin and hierarchy)):
        return None

    def key(path: str) -> str:
        return folded_name(leaf(path, target))

    recorded = {term_key(r) for r in records}
    foreign = [p for p in present if term_key(p) not in recorded]
    held = recorded & {term_key(p) for p in present}
    foreign_names = {key(p) for p in foreign}
    paths = [_path(h.split("|"), target) for h in hierarchy]
    paths = [p for p in paths if key(p) not in foreign_names or term_key(p) in held]
    excluded = {key(p) for p in paths} | foreign_names | rules.removed.keys()
    keywords = [k for k in _user_keywords(packet, target) if key(k) not in excluded]
    if foreign or not (paths or any(key(r) in rules.unrequested for r in records)):
        keywords = [k for k in keywords if term_key(k) in recorded and foreign]
    return list(dict.fromkeys([*keywords, *paths]))


def _user_keywords(packet: Packet, target: Name) -> list[str]:
    """Return the user's keywords as paths: those with a path, then those that are in no path."""
    paths = []
    if target == TAGS:
        paths = [_path(p.split("|"), target) for p in _foreign(packet, HIERARCHY)]
    leaves = {leaf(p, target) for p in paths}
    flat = [_path([s], target) for s in _foreign(packet, SUBJECT)]
    return [*paths, *(f for f in flat if leaf(f, target) not in leaves)]


def _foreign(packet: Packet, target: Name) -> list[str]:
    """Return the terms of a property that myvlm did not write."""
    recorded = {term_key(r) for r in packet.items(MYVLM, RECORDS[target])}
    return [t for p in packet.items(*target) if (t := term_key(p)) and t not in recorded]


def _path(parts: Sequence[str], target: Name) -> str:
    """Join a path in the form of a property. A separator in a name cannot be escaped, so it becomes a hyphen."""
    separator = SEPARATORS[target]
    return separator.join(term_key(p).replace(separator, "-") for p in parts if p.strip())
