"""Results beside the photos: XMP merged in place, JSON of our own."""
