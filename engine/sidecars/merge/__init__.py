"""Whose words are whose: what myvlm may write, what it must keep, and how to take it back."""
