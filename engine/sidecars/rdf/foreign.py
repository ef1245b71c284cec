"""Check that an edit changes nothing of other programs: their part of an XMP document as comparable values.

If these values differ before and after an edit, the edit is refused. Order, attributes, comments, processing
instructions and the exact text of values count; indentation, prefixes and the position of namespace declarations do
not. Of a property that myvlm shares with other programs, every item that myvlm did not write counts.
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
    attributes,
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
    """The part of a document that myvlm wrote, by `{uri}name`.

    whole: complete properties. default: language alternatives whose default text it wrote. items: of arrays, with how
    often each was written.
    """

    whole: frozenset[str] = frozenset()
    default: frozenset[str] = frozenset()
    items: Mapping[str, Counter[str]] = field(default_factory=dict)


def foreign(packet: Packet, share: Share) -> list[Token]:
    """Return everything in a document that is not in a share of it."""
    items = {tag: Counter({term_key(k): n for k, n in terms.items()}) for tag, terms in share.items.items()}
    share = Share(share.whole, share.default, items)
    document = packet.document
    tokens = [canonical(node, exact=True) for node in document.outside()]
    if document.root is not document.rdf:
        tokens.append((document.root.tag, _attributes(document.root)))
        tokens += [canonical(child) for child in document.root if child is not document.rdf]
        tokens += _stray(document.root)
    tokens.append((document.rdf.tag, _attributes(document.rdf)))
    blocks = set(packet.blocks())
    subjects = {subject for b in blocks if (subject := b.get(ABOUT))}
    tokens.append(("about", *sorted(subjects)))
    for child in document.rdf:
        tokens += [canonical(child)] if child not in blocks else _block(child, share)
    return tokens + _stray(document.rdf)


def _block(block: "etree._Element", share: Share) -> list[Token]:
    """Return the foreign part of a block; nothing for a block that holds only properties of the share."""
    kept = tuple(
        (key, value)
        for key, value in _attributes(block)
        if key not in share.whole
        and key not in share.default
        and not (key in share.items and not value.strip())
        and not (key == ABOUT and not value)
    )
    shared = {*share.whole, *share.default, *share.items}
    content: list[Token] = []
    for child in block:
        content += _property(child, share) if child.tag in shared else [canonical(child)]
    content += _stray(block)
    if not content and {key for key, _ in kept} <= {ABOUT} and block.tag == BLOCK:
        return []
    return [(block.tag, kept, *content)]


def _property(element: "etree._Element", share: Share) -> list[Token]:
    """Return the foreign part of a property of which a share is known."""
    if element.tag in share.whole:
        return []
    array = array_of(element)
    if array is None:
        is_shared = is_plain(element) and (element.tag in share.default or not plain_text(element).strip())
        return [] if is_shared and not len(element) else [canonical(element)]
    if element.tag in share.default:
        entry = default_entry(array)
        rest = [c for c in array if c is not entry or not is_plain(c)]
        comments = [] if entry is None or not is_plain(entry) else [canonical(c) for c in entry]
    else:
        rest, comments = [c for c in array if not _take(c, share.items[element.tag])], []
    comments += [canonical(c) for c in element if c is not array]
    both, content = (_attributes(element), _attributes(array)), [canonical(c) for c in rest] + comments
    content += [*_stray(element), *_stray(array)]
    return [(element.tag, array.tag, *both, *content)] if content or any(both) else []


def _take(item: "etree._Element", left: Counter[str]) -> bool:
    """Return whether an item is one of `left`, from which it is taken: as many are accepted as were written."""
    if item.tag != LI or len(item) or item.attrib:
        return False
    key = term_key(item.text or "")
    left[key] -= 1
    return left[key] >= 0


def _stray(element: "etree._Element") -> list[Token]:
    """Return text beside elements: no legal XMP has any, but it must not get lost."""
    texts = [] if not element.text or element.text.isspace() else [element.text]
    for child in element:
        tail = child.tail
        if tail and not tail.isspace():
            texts.append(tail)
    return [("text", t.strip()) for t in texts]


def _attributes(element: "etree._Element") -> tuple[tuple[str, str], ...]:
    return tuple(sorted(attributes(element).items())) if element.attrib else ()


def canonical(node: "etree._Element", *, exact: bool = False) -> Token:
    """Return a node with its content. exact: white space between elements counts (rdf:parseType="Literal")."""
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
