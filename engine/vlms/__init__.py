"""Vision-language models: configs, registry, one readable file per family."""
