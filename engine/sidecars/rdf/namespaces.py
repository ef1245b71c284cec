"""Namespaces of XMP. Properties are matched by URI, never by prefix."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
X = "adobe:ns:meta/"
XML = "http://www.w3.org/XML/1998/namespace"
DC = "http://purl.org/dc/elements/1.1/"
XMP = "http://ns.adobe.com/xap/1.0/"
XMP_NOTE = "http://ns.adobe.com/xmp/note/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
MYVLM = "urn:myvlm:xmp:1.0/"
"""Namespace of the properties in which myvlm keeps its records; no other program uses it."""

PREFIXES = {
    "rdf": RDF,
    "x": X,
    "dc": DC,
    "xmp": XMP,
    "tiff": TIFF,
    "lr": LIGHTROOM,
    "digiKam": DIGIKAM,
    "Iptc4xmpExt": IPTC_EXT,
    "myvlm": MYVLM,
}


def q(namespace: str, name: str) -> str:
    """Return the qualified name in the form of lxml, `{namespace}name`."""
    return f"{{{namespace}}}{name}"
