"""Group the faces and animals of a library that have no name yet, so that each group can be named or ignored at once.

May import `engine.concepts`, `engine.captioning` and the rooms below them. What shows a list that is known already
loads neither numpy nor a model.
"""
