"""Make web pages: the review page and others share one template, one style sheet and one way to make thumbnails.

It may import `engine.concepts`, `engine.captioning`, `engine.library` and the rooms below them.
"""
