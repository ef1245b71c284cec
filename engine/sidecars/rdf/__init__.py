"""Parse and edit XMP documents (RDF in XML) without changing anything that is not edited.

May import `photos.metadata` and `core`; it knows nothing of captions and names.
"""
