"""Training of concept embeddings: targets, augmentation, the optimiser's loop, and the job that stores the result.

This room imports `session`, `vision`, `vlms`, `store` and `photos`, and what lies below them.
"""
