"""The storybook: a drawn world, and tiny models trained on it.

It is the embedded default (`--vlm storybook`), the test bed and the benchmark: no pretrained
weights can be fetched where myvlm is built and tested, and every claim must show on models that
understand something. `world` draws, `build` trains what `weights` holds.
"""
