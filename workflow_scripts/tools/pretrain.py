"""Train the small backbones that ship with the project from scratch, and write weights and cards.

It may be interrupted: the same command resumes from the last saved state and ends at the same weights.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from obtransfer.errors import ObtransferError
from obtransfer.pretrain.recipes import RECIPES


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"backbones to train, in this order; all by default: {', '.join(RECIPES)}",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("resources/pretrained"),
        help="folder of weights and cards (%(default)s)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("results/pretraining"),
        help="folder of states and images (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="non-negative (%(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="processor threads; other sums, other bits (%(default)s)"
    )
    parser.add_argument(
        "--save-every", type=int, default=250, help="steps between two saved states (%(default)s)"
    )
    parser.add_argument(
        "--evaluate-every",
        type=int,
        default=0,
        help="steps between two measurements of accuracy; 0: at the end",
    )
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Train the named backbones; return the exit status."""
    options = arguments(words)
    try:
        from obtransfer.pretrain.run import pretrain

        for name in options.names or RECIPES:
            started = time.monotonic()
            accuracy = pretrain(
                name,
                output=options.output,
                work=options.work,
                seed=options.seed,
                threads=options.threads,
                save_every=options.save_every,
                evaluate_every=options.evaluate_every,
            )
            print(f"{name}: {accuracy:.1%} on the ten tasks, {time.monotonic() - started:.0f} s", flush=True)
    except ObtransferError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
