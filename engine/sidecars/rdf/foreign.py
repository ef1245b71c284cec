"""What in an XMP document is not ours, as plain values: equal before and after an edit, or the edit is given up.

Order, attributes, comments, processing instructions and the exact text of values count; indentation, prefixes and the
place of namespace declarations do not. Of a property that we share with others, what counts is every item that is not
ours.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.sidecars.rdf.forms import (
    ABOUT,
    BLOCK,
    LI,
    PARSE_TYPE,
    array_of,
    default_entry,
    is_plain,
    plain_text,
    term_key,
)
from engine.sidecars.rdf.packet import Packet

if TYPE_CHECKING:
    from lxml import etree

Token = tuple[object, ...]


@dataclass(frozen=True)
class Share:
    """What of a document is ours: whole properties, the default text of language alternatives, items of arrays."""

    whole: frozenset[str] = frozenset()
    default: frozenset[str] = frozenset()
    items: Mapping[str, Counter[str]] = field(default_factory=dict)


def foreign(packet: Packet, share: Share) -> list[Token]:
    """Everything in a document but our share of it."""
    left = {tag: Counter({term_key(k): n for k, n in own.items()}) for tag, own in share.items.items()}
    share = Share(share.whole, share.default, left)
    document = packet.document
    tokens = [canonical(node, exact=True) for node in document.outside()]
    if document.root is not document.rdf:
        tokens.append((document.root.tag, _attributes(document.root)))
        tokens += [canonical(child) for child in document.root if child is not document.rdf]
        tokens += _stray(document.root)
    tokens.append((document.rdf.tag, _attributes(document.rdf)))
    blocks = set(packet.blocks())
    abouts = {b.get(ABOUT) for b in blocks} - {None, ""}
    tokens.append(("about", *sorted(abouts)))
    for child in document.rdf:
        tokens += [canonical(child)] if child not in blocks else _block(child, share)
    return tokens + _stray(document.rdf)


def _block(block: "etree._Element", share: Share) -> list[Token]:
    """A block's foreign part; one that holds nothing but ours is not there at all."""
    attributes = tuple(
        (key, value)
        for key, value in _attributes(block)
        if key not in share.whole
        and key not in share.default
        and not (key in share.items and not value.strip())
        and not (key == ABOUT and not value)
    )
    content, ours = [], {*share.whole, *share.default, *share.items}
    for child in block:
        content += _property(child, share) if child.tag in ours else [canonical(child)]
    content += _stray(block)
    if not content and {key for key, _ in attributes} <= {ABOUT} and block.tag == BLOCK:
        return []
    return [(block.tag, attributes, *content)]


def _property(element: "etree._Element", share: Share) -> list[Token]:
    """What is foreign of a property that is ours in whole or in part."""
    if element.tag in share.whole:
        return []
    array = array_of(element)
    if array is None:
        ours = is_plain(element) and (element.tag in share.default or not plain_text(element).strip())
        return [] if ours and not len(element) else [canonical(element)]
    if element.tag in share.default:
        own = default_entry(array)
        rest = [c for c in array if c is not own or not is_plain(c)]
        comments = [] if own is None or not is_plain(own) else [canonical(c) for c in own]
    else:
        rest, comments = [c for c in array if not _is_ours(c, share.items[element.tag])], []
    comments += [canonical(c) for c in element if c is not array]
    attributes, content = (_attributes(element), _attributes(array)), [canonical(c) for c in rest] + comments
    content += [*_stray(element), *_stray(array)]
    return [(element.tag, array.tag, *attributes, *content)] if content or any(attributes) else []


def _is_ours(item: "etree._Element", left: Counter[str]) -> bool:
    """Whether an item is one of ours, of which as many are let off as we wrote."""
    if item.tag != LI or len(item) or item.attrib:
        return False
    key = term_key(item.text or "")
    left[key] -= 1
    return left[key] >= 0


def _stray(element: "etree._Element") -> list[Token]:
    """Text beside elements, which no legal XMP has but somebody may miss."""
    found = [] if not element.text or element.text.isspace() else [element.text]
    for child in element:
        tail = child.tail
        if tail and not tail.isspace():
            found.append(tail)
    return [("text", t.strip()) for t in found]


def _attributes(element: "etree._Element") -> tuple[tuple[str, str], ...]:
    return tuple(sorted(element.attrib.items())) if element.attrib else ()


def canonical(node: "etree._Element", *, exact: bool = False) -> Token:
    """A node with all that is in it. `exact`: white space between elements counts too (rdf:parseType="Literal")."""
    tag = node.tag
    if not isinstance(tag, str):
        return (tag.__name__, getattr(node, "target", None), node.text)
    if not len(node):
        return (tag, _attributes(node), node.text or "")
    exact = exact or node.get(PARSE_TYPE) == "Literal"
    whole = exact or not any(isinstance(c.tag, str) for c in node)
    parts: list[object] = [_between(node.text, whole=whole)]
    for child in node:
        parts += [canonical(child, exact=exact), _between(child.tail, whole=whole)]
    return (tag, _attributes(node), *parts)


def _between(text: str | None, *, whole: bool) -> str:
    return (text or "") if whole else (text or "").strip()
