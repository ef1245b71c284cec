"""Training the storybook's models from nothing: `python -m engine.storybook.build`."""
