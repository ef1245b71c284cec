"""Parse the metadata of photo files (EXIF, XMP, IPTC) without decoding a pixel, in time bounded by the file size.

May import `core` only.
"""
