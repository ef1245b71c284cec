"""A drawn world with ground truth, and tiny models trained on it: the built-in default, test bed and benchmark.

`world` draws and imports Pillow and numpy only; `photos` and `album` also import `core`; `build` trains what `weights`
holds and may import everything below `benchmarks`. See `docs/storybook.md`.
"""
