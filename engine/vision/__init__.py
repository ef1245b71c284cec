"""From pixels to detections: faces, regions and their features."""
