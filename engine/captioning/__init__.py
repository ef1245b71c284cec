"""Caption, answer, locate, and the status of sidecars."""
