"""The drawn world: individuals, scenes, pictures and the language that describes them.

Imports the standard library, numpy and Pillow only, so that drawing a scene never loads torch.
"""
