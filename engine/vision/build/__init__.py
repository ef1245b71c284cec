"""Converts published models into the weights of the built-in recogniser: `python -m engine.vision.build`; not shipped.

May import `vision` and `core`, and onnx and torch at module level. It is not part of the wheel.
"""
