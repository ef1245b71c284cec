"""Enrol, import, merge, change, review and forget concepts, and record the user's decisions about them.

It may import `engine.recognition`, `engine.training`, `engine.session` and the rooms below them.
"""
