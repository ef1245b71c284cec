"""Named regions: MWG and Microsoft in XMP, and Picasa's files."""
