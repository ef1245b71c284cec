"""Convert published models: `python -m engine.vision.build PART …`; `--help` says which parts there are."""

import argparse

from engine.vision.build import encoder, face_cohort, faces, region_bank

_PARTS = {"encoder": encoder, "bank": region_bank, "faces": faces, "cohort": face_cohort}
"""Each part is a module with `add_arguments` and `build`; its docstring is its help."""


def main() -> None:
    """Build the part that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m engine.vision.build", description=__doc__)
    parts = parser.add_subparsers(required=True, metavar="PART")
    for name, part in _PARTS.items():
        text = str(part.__doc__)
        own = parts.add_parser(name, help=text.splitlines()[0], description=text)
        own.formatter_class = argparse.RawDescriptionHelpFormatter
        part.add_arguments(own)
        own.set_defaults(build=part.build)
    args = parser.parse_args()
    args.build(args)


if __name__ == "__main__":
    main()
