"""Explain why a concept was or was not recognised in a photo; nothing is decided here.

May import what `recognition` may import, and `recognition` itself.
"""
