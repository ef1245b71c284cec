"""The concept store and the feature cache, on this machine only."""
