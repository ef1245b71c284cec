"""Read, merge, write and undo sidecars: XMP for other programs, JSON for myvlm itself.

May import `photos` and `core`.
"""
