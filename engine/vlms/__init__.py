"""Vision-language models: configs, registry, one module a family, and what is generated with a loaded model.

This room imports `core` only.
"""
