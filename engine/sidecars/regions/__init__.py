"""Named regions of photos: in XMP, in the forms of MWG and Microsoft, and in the files of Picasa.

May import `sidecars.rdf`, `sidecars.locate` and `core`.
"""
