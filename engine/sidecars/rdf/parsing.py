"""Parse the bytes of a sidecar into an XML tree and back; DTDs, other encodings and huge files are refused."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lxml import etree

from engine.core.errors import SidecarError
from engine.sidecars.rdf.forms import RDF, X, q
from engine.sidecars.read import LARGEST

_MOST_TAGS = 2_000_000
_BOM = b"\xef\xbb\xbf"
_BLANK = b"\0 \t\r\n"
_DOCTYPE = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s+|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE", re.DOTALL)
_ROOTS = (q(X, "xmpmeta"), q(X, "xapmeta"), q(RDF, "RDF"))
"""Accepted roots; xapmeta is Adobe's old name of xmpmeta. Other roots, such as x:xml_doc of icloudpd, are formats of
other programs, which may depend on details that an edit would lose."""


@contextmanager
def refuse_unsafe_edits() -> Iterator[None]:
    """Raise a SidecarError for values that XML cannot hold and for failures of lxml."""
    try:
        yield
    except (etree.LxmlError, ValueError, RecursionError) as err:
        raise SidecarError(f"it cannot be edited safely ({err})") from err


class Document:
    """A parsed file: its tree, and how it was written.

    rdf: the rdf:RDF element, which may be the root.
    """

    def __init__(self, data: bytes) -> None:
        """Parse a document.

        Raises:
            SidecarError: too large, malformed, not in UTF-8, with a DOCTYPE, or not XMP.
        """
        self.root = _parse(data)
        self._bom = _BOM if data.startswith(_BOM) else b""
        self._declared = data.removeprefix(_BOM).lstrip().startswith(b"<?xml ")
        newlines, returns = data.count(b"\n"), data.count(b"\r\n")
        self._newline = b"\r\n" if returns and returns == newlines == data.count(b"\r") else b"\n"
        rdf = self.root if self.root.tag == q(RDF, "RDF") else self.root.find(q(RDF, "RDF"))
        if self.root.tag not in _ROOTS or rdf is None:
            raise SidecarError("the sidecar has no rdf:RDF in an x:xmpmeta, so it is no XMP")
        self.rdf = rdf

    def outside(self) -> list[etree._Element]:
        """Return the comments and processing instructions before and after the root."""
        return [*reversed(list(self.root.itersiblings(preceding=True))), *self.root.itersiblings()]

    def serialise(self) -> bytes:
        """Return the document as UTF-8 with its byte order mark, declaration, xpacket and line ends; drop padding."""
        before = [*reversed(list(self.root.itersiblings(preceding=True)))]
        nodes = [*before, self.root, *self.root.itersiblings()]
        lines = [etree.tostring(node, encoding="utf-8", with_tail=False) for node in nodes]
        declaration = [b'<?xml version="1.0" encoding="UTF-8"?>'] if self._declared else []
        text = b"\n".join([*declaration, *lines]) + b"\n"
        return self._bom + (text.replace(b"\n", self._newline) if self._newline != b"\n" else text)


def _parse(data: bytes) -> etree._Element:
    _check_bytes(data)
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_blank_text=False,
        strip_cdata=False,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError, RecursionError) as err:
        raise SidecarError(f"the sidecar is not well-formed XML ({err})") from err
    info = root.getroottree().docinfo
    if info.internalDTD is not None or info.doctype:
        raise SidecarError("the sidecar has a DOCTYPE, which no XMP has")
    encoding = info.encoding or "UTF-8"
    if encoding.upper() not in ("UTF-8", "UTF8", "ASCII", "US-ASCII"):
        raise SidecarError(f"the sidecar is encoded as {encoding}, not UTF-8")
    if info.xml_version not in (None, "1.0"):
        raise SidecarError(f"the sidecar is XML {info.xml_version}, not 1.0")
    return root


def _check_bytes(data: bytes) -> None:
    """Refuse bytes that need no parser to be refused.

    Raises:
        SidecarError: too large, empty, UTF-16 or UTF-32, with NUL bytes, a DOCTYPE, or too many tags.
    """
    if len(data) > LARGEST:
        raise SidecarError(f"the sidecar is larger than {LARGEST >> 20} MiB")
    if not data.removeprefix(_BOM).strip(_BLANK):
        raise SidecarError(f"the sidecar {_emptiness(data)}; delete it, or restore it from a backup")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        raise SidecarError("the sidecar is encoded as UTF-16 or UTF-32, not UTF-8")
    if b"\0" in data:
        raise SidecarError("the sidecar is not well-formed XML (it has NUL bytes)")
    if _DOCTYPE.match(data):
        raise SidecarError("the sidecar has a DOCTYPE, which no XMP has")
    if data.count(b"<") > _MOST_TAGS:
        raise SidecarError(f"the sidecar has more than {_MOST_TAGS} tags")


def _emptiness(data: bytes) -> str:
    """Describe a file without content, which a crash or a full disk leaves behind.

    myvlm does not write into it: another program may be about to do so, and a backup may hold its old content.
    """
    if not data:
        return "is empty"
    return "is empty (it holds nothing but NUL bytes)" if b"\0" in data else "is empty (it holds nothing but blanks)"
