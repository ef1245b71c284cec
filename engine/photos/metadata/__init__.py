"""Where files keep what they say of themselves: parsers of their blocks, in time bounded by the file's size."""
