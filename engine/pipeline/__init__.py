"""One module per verb of the tool, on a session that loads each model once."""
