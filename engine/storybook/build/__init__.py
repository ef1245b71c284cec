"""Trains the storybook's models from nothing: `python -m engine.storybook.build`; not part of the wheel.

May import every room below `benchmarks`, and torch, transformers and open_clip at module level.
"""
