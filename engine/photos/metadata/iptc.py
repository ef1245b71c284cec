"""Read IPTC-IIM datasets (IPTC-NAA Information Interchange Model 4.2) as texts."""

from engine.photos.metadata.stored import decode_text

_MOST_DATASETS = 10_000
_PARTS = {
    **dict.fromkeys((b"\x1b%G", b"\x1b%/G", b"\x1b%/H", b"\x1b%/I"), "utf-8"),
    **dict.fromkeys((b"\x1b%/@", b"\x1b%/C", b"\x1b%/E", b"\x1b%/J", b"\x1b%/K", b"\x1b%/L"), "utf-16-be"),
}
"""Codecs of escape sequences that select other coding systems (ISO 2022, 15.4; registered numbers 162–196)."""
_SETS = {
    **{b"A": "latin-1", b"B": "iso8859-2", b"C": "iso8859-3", b"D": "iso8859-4", b"F": "iso8859-7"},
    **{b"G": "iso8859-6", b"H": "iso8859-8", b"L": "iso8859-5", b"M": "iso8859-9", b"T": "tis-620"},
    **{b"V": "iso8859-10", b"Y": "iso8859-13", b"_": "iso8859-14", b"b": "iso8859-15", b"f": "iso8859-16"},
}
"""Codecs of sets of 96 characters, by the final byte of their escape sequence (ISO-IR 100, 101, 109 …)."""
_OPENINGS = (b"\x1b-", b"\x1b.", b"\x1b/", b"\x1b,")
"""Beginnings of escape sequences that select a set of 96 characters (G1, G2, G3; the last is obsolete)."""


def read_iptc(data: bytes) -> dict[int, tuple[str, ...]]:
    """Read the texts of the application record (2) by dataset, up to the first damaged one.

    They are in the coded character set that dataset 1:90 declares. If it is absent or unknown, each text is UTF-8 if it
    can be, else Windows-1252.
    """
    datasets: dict[int, list[bytes]] = {}
    encoding = ""
    at = 0
    for _ in range(_MOST_DATASETS):
        head = data[at : at + 5]
        if len(head) < 5 or head[0] != 0x1C:
            break
        record, number, size = head[1], head[2], int.from_bytes(head[3:5], "big")
        at += 5
        if size & 0x8000:  # an extended dataset: the size takes so many bytes
            more = size & 0x7FFF
            size, at = int.from_bytes(data[at : at + min(more, 8)], "big"), at + more
        content = data[at : at + size]
        at += size
        if (record, number) == (1, 90):
            encoding = _declared(content)
        elif record == 2 and len(content) == size:
            datasets.setdefault(number, []).append(content)
    return {n: tuple(decode_text(c, encoding) for c in contents) for n, contents in datasets.items()}


def _declared(content: bytes) -> str:
    """Return the codec of a coded character set, "" if it is unknown; of several escapes the last known one counts."""
    encoding = ""
    for part in content.replace(b" ", b"").strip(b"\0").split(b"\x1b")[1:]:
        escape = b"\x1b" + part
        codec = _PARTS.get(escape) or (_SETS.get(escape[2:]) if escape[:2] in _OPENINGS else None)
        encoding = codec or encoding
    return encoding
