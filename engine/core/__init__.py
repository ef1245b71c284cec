"""Values, errors, boxes, guarded file access, paths, SQLite and tensor files, class words."""
