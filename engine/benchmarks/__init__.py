"""Benchmarks behind `myvlm evaluate`: the storybook, the paper's protocol, and recognition in libraries.

May import every other room but `myvlm_cli` and `storybook.build`.
"""
