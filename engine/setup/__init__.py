"""Choose models for this machine and fetch them: what the machine has, a plan, and what brings each part to its disk.

May import `session` and the rooms below it.
"""
