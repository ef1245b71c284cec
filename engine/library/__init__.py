"""Index what the sidecars of a library say, so that photos are found by names, words, dates and places.

May import what stands below it in `engine/README.md`; uses `sidecars`, `store`, `photos` and `core`. What
`myvlm search` needs loads neither numpy nor lxml.
"""
