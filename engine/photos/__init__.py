"""Find photos, decode them, and read the metadata in their files.

May import `core` only.
"""
