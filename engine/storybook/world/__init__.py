"""The drawn world: individuals, scenes, pictures and the language about them."""
