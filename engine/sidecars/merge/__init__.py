"""Merge rules for XMP sidecars: what myvlm writes, preserves and removes, and how it restores what it replaced.

May import `sidecars.rdf`, `sidecars.regions`, `photos` and `core`.
"""
