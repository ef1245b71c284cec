"""Tags with a path: lr:hierarchicalSubject ("People|Anna") and digiKam:TagsList ("People/Anna").

Where one of them exists, programs look no further: Immich shows a TagsList and then none of the keywords beside it. So
one that we begin also gets the user's own keywords, and keeps up with them as long as nobody else writes in it.
"""

from collections.abc import Sequence

from engine.sidecars.merge.ownership import HIERARCHY, RECORDS, SUBJECT, TAGS, Name
from engine.sidecars.merge.terms import SEPARATORS, Choice, leaf, name_key
from engine.sidecars.rdf.forms import term_key
from engine.sidecars.rdf.namespaces import MYVLM
from engine.sidecars.rdf.packet import Packet


def tag_paths(packet: Packet, target: Name, own: Sequence[str], choice: Choice, *, begin: bool) -> list[str] | None:
    """What of ours a property with paths should hold, None when it is to be left alone.

    `own` are paths with "|". A tag that somebody keeps elsewhere in their tree is not put into ours as well.
    `begin`: the property may be begun.
    """
    present, mine = packet.items(*target), packet.items(MYVLM, RECORDS[target])
    if not (present or mine or (begin and own)):
        return None

    def key(path: str) -> str:
        return name_key(leaf(path, target))

    recorded = {term_key(m) for m in mine}
    others = [p for p in present if term_key(p) not in recorded]
    held = recorded & {term_key(p) for p in present}
    taken = {key(p) for p in others}
    paths = [_path(o.split("|"), target) for o in own]
    paths = [p for p in paths if key(p) not in taken or term_key(p) in held]
    leaves = {key(p) for p in paths} | taken
    carried = [c for c in _users(packet, target) if key(c) not in leaves | choice.declined.keys()]
    if others or not (paths or any(key(m) in choice.unasked for m in mine)):
        carried = [c for c in carried if term_key(c) in recorded and others]
    return list(dict.fromkeys([*carried, *paths]))


def _users(packet: Packet, target: Name) -> list[str]:
    """The user's own keywords as paths: those with one, and those without that are in none of them."""
    paths = []
    if target == TAGS:
        paths = [_path(p.split("|"), target) for p in _foreign(packet, HIERARCHY)]
    known = {leaf(p, target) for p in paths}
    flat = [_path([s], target) for s in _foreign(packet, SUBJECT)]
    return [*paths, *(f for f in flat if leaf(f, target) not in known)]


def _foreign(packet: Packet, target: Name) -> list[str]:
    recorded = {term_key(m) for m in packet.items(MYVLM, RECORDS[target])}
    return [t for p in packet.items(*target) if (t := term_key(p)) and t not in recorded]


def _path(parts: Sequence[str], target: Name) -> str:
    """A path in a property's own form; neither form can escape its separator, so that becomes a hyphen."""
    separator = SEPARATORS[target]
    return separator.join(term_key(p).replace(separator, "-") for p in parts if p.strip())
