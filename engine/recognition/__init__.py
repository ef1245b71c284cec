"""Decide which enrolled concepts a photo shows, by comparing its faces and regions with the concepts' heads.

May import `session`, `vision`, `sidecars`, `store`, `photos` and `core`.
"""
