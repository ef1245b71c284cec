"""Recognising concepts: faces, regions, encoders, heads, matching."""
