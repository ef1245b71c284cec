"""The `chat` backend: any checkpoint of transformers' AutoModelForImageTextToText, with concept rows as slots."""
