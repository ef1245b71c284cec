"""Where somebody is named: in the texts of a sidecar, or in a path, always as a whole word."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.sidecars.rdf.forms import folded
from engine.vlms.wording import UNSPACED


@dataclass
class NameSearch:
    """What gives a concept away: its names (old ones may be added as they are found), and its id."""

    names: set[str]
    ids: frozenset[str]

    def in_text(self, text: str) -> bool:
        """Whether a text says one of the names, whatever its case, Unicode form and white space."""
        return self._in_any(r"\w", [text])

    def in_data(self, data: bytes) -> bool:
        """Whether one of the texts of an XML or JSON file does; what is neither is taken for one text."""
        return self._in_any(r"\w", texts_of(data))

    def is_told(self, data: bytes) -> bool:
        """Whether a file names the concept or has its id."""
        return any(i.encode() in data for i in self.ids) or self.in_data(data)

    def in_path(self, path: Path) -> bool:
        """Whether a part of a path does; digits and underscores end a word here (rex_01.jpg). The user's own home
        folder does not count: everything of theirs lies in it, whoever is called like them.
        """
        return self._in_any(r"[^\W\d_]", _own_parts(path))

    def _in_any(self, letter: str, texts: Iterable[str]) -> bool:
        names = sorted(filter(None, map(folded, self.names)), key=len, reverse=True)
        either = re.compile("|".join(_bounded(n, letter) for n in names) or r"(?!)")
        return any(either.search(folded(text)) for text in texts)


def _bounded(name: str, letter: str) -> str:
    """A pattern for a name as a whole word; no letters around it, where its script has spaces."""
    before = "" if UNSPACED.match(name[0]) else f"(?<!{letter})"
    after = "" if UNSPACED.match(name[-1]) else f"(?!{letter})"
    return f"{before}{re.escape(name)}{after}"


def _own_parts(path: Path) -> list[str]:
    """A path's parts without those of the home folder, or of the disks mounted for its owner, wherever in it they
    are (below --sidecar-dir the photo's whole path is repeated).
    """
    text = f"{path}/"
    try:
        home = Path.home()
    except RuntimeError:  # a user without any
        return text.split("/")
    for base in (f"/run/media/{home.name}", f"/media/{home.name}", str(home)):
        text = text.replace(f"{base}/", "/") if len(base) > 1 else text
    return text.split("/")


def texts_of(data: bytes) -> list[str]:
    """The texts and attribute values of an XML file or the strings of a JSON file; of what is neither, or damaged,
    all of it, with XML's entities resolved.
    """
    try:
        return list(_strings(json.loads(data)))
    except (ValueError, RecursionError):
        return _texts_of_xml(data) or [html.unescape(t) for t in _decoded(data)]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(inner)


def _texts_of_xml(data: bytes) -> list[str]:
    """The texts of all nodes, each element's own without what comments part it; none where it is no XML."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data.strip(b"\0 \t\r\n"), parser)
    except (etree.LxmlError, ValueError, RecursionError):
        return []
    if root.getroottree().docinfo.doctype:  # it may define entities
        return []
    texts = []
    for node in [*root.itersiblings(preceding=True), *root.iter(), *root.itersiblings()]:
        texts.append("".join([node.text or "", *(c.tail or "" for c in node)]))
        texts += node.attrib.values() if node.tag not in (etree.Comment, etree.PI, etree.Entity) else []
    return texts


def _decoded(data: bytes) -> list[str]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return [data.decode("utf-16", "replace")]
    try:
        return [data.decode("utf-8")]
    except UnicodeDecodeError:
        return [data.decode("utf-8", "replace"), data.decode("latin-1")]
