"""The `chat` backend: any checkpoint of transformers' AutoModelForImageTextToText, with concept rows as slots.

May import what `vlms` may import, and `vlms` itself.
"""
