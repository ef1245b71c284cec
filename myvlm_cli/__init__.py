"""The `myvlm` command line: it parses the arguments of a command, calls the engine, and prints the result.

It may import everything in `engine`, and nothing in `engine` imports it.
"""
