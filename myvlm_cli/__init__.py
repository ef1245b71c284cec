"""The `myvlm` command line."""
