"""Store concepts, heads, embeddings, decisions and calibrations in one SQLite file and safetensors files beside it.

It may import `engine.photos`, `engine.storybook.world` and `engine.core`; heads are read and written as typed values.
"""
