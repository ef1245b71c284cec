"""The engine of myvlm: photos in, personal captions, answers and boxes out.

Nothing in this package prints, prompts or exits; `myvlm_cli` does.
"""

__version__ = "0.2.0"
