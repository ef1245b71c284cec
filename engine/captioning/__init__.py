"""Caption, answer, locate, and tell which sidecars are up to date: the jobs that describe photos.

May import `recognition`, `training`, `session` and the rooms below them, but not `concepts`, which stands beside it.
"""
