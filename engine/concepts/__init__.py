"""Enrol, change, review and remove concepts."""
