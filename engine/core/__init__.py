"""Values, errors, boxes, notes, guarded file access, paths, SQLite and tensor files, class words.

Imports no other room; heavy libraries load inside functions, except in `device`, `database` and `tensors`.
"""
