"""Which enrolled concepts a photo shows."""
