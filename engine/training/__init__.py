"""Learning concept embeddings: captions, augmentation, the optimiser's loop."""
