"""From pixels to detections: faces, regions and their features, cached by content.

May import `photos` and `core`; it knows nothing of concepts.
"""
