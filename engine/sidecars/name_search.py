"""Search for the names of a concept, as whole words, in texts, sidecars and paths."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.text import UNSPACED
from engine.sidecars.rdf.forms import folded


@dataclass
class NameSearch:
    """Searches for the names and ids of a concept. Old names may be added to `names` when they are found."""

    names: set[str]
    ids: frozenset[str]

    def in_text(self, text: str) -> bool:
        """Return whether a text has one of the names, in any case, Unicode form and white space."""
        return self._in_any(r"\w", [text])

    def in_data(self, data: bytes) -> bool:
        """Return whether a text in an XML or JSON file has one of the names; any other file counts as one text."""
        return self._in_any(r"\w", texts_of(data))

    def in_file(self, data: bytes) -> bool:
        """Return whether a file has one of the names or ids."""
        return any(i.encode() in data for i in self.ids) or self.in_data(data)

    def in_path(self, path: Path) -> bool:
        """Return whether a part of a path has one of the names; digits and underscores end a word (rex_01.jpg).

        The user's home folder is left out: every file of the user is in it, also if a concept has the same name.
        """
        return self._in_any(r"[^\W\d_]", _parts_below_home(path))

    def _in_any(self, letter: str, texts: Iterable[str]) -> bool:
        """Return whether a text has one of the names with no letter beside it. letter: a pattern for one character."""
        names = sorted(filter(None, map(folded, self.names)), key=len, reverse=True)
        either = re.compile("|".join(_bounded(n, letter) for n in names) or r"(?!)")
        return any(either.search(folded(text)) for text in texts)


def _bounded(name: str, letter: str) -> str:
    """Return a pattern for a name as a whole word; in scripts without spaces, letters may be beside it."""
    before = "" if UNSPACED.match(name[0]) else f"(?<!{letter})"
    after = "" if UNSPACED.match(name[-1]) else f"(?!{letter})"
    return f"{before}{re.escape(name)}{after}"


def _parts_below_home(path: Path) -> list[str]:
    """Return the parts of a path without the home folder and without the folders for disks mounted for its owner.

    These may be in the middle of the path: below --sidecar-dir the whole path of the photo is repeated.
    """
    text = f"{path}/"
    try:
        home = Path.home()
    except RuntimeError:  # the user has none
        return text.split("/")
    for base in (f"/run/media/{home.name}", f"/media/{home.name}", str(home)):
        text = text.replace(f"{base}/", "/") if len(base) > 1 else text
    return text.split("/")


def texts_of(data: bytes) -> list[str]:
    """Return the texts and attribute values of an XML file, or the strings of a JSON file.

    Of any other or a damaged file, return its whole content, with XML's entities resolved.
    """
    try:
        return list(_strings(json.loads(data)))
    except (ValueError, RecursionError):
        return _texts_of_xml(data) or [html.unescape(t) for t in _decoded(data)]


def _strings(value: object) -> Iterator[str]:
    """Yield the strings and keys in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(inner)


def _texts_of_xml(data: bytes) -> list[str]:
    """Return the texts of all nodes of an XML file, [] for other files. A comment does not split a text."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data.strip(b"\0 \t\r\n"), parser)
    except (etree.LxmlError, ValueError, RecursionError):
        return []
    document: Any = root.getroottree()  # the stubs of lxml lack `doctype`
    if document.docinfo.doctype:  # which may define entities
        return []
    texts: list[str] = []
    for node in [*root.itersiblings(preceding=True), *root.iter(), *root.itersiblings()]:
        texts.append("".join([node.text or "", *(c.tail or "" for c in node)]))
        texts += map(str, node.attrib.values()) if node.tag not in (etree.Comment, etree.PI, etree.Entity) else []
    return texts


def _decoded(data: bytes) -> list[str]:
    """Decode a text file; of one that is not UTF-8, return the text in UTF-8 and in Latin-1."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return [data.decode("utf-16", "replace")]
    try:
        return [data.decode("utf-8")]
    except UnicodeDecodeError:
        return [data.decode("utf-8", "replace"), data.decode("latin-1")]
