"""XMP packets as documents: parsed hardened, edited in place, compared item by item."""
