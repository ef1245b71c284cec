"""Photo files: finding, decoding, EXIF, drawing on copies."""
