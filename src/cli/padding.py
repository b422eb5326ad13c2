"""The options of `publish` that join requests of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from penstock.v1 import model_pb2

Pad = Annotated[
    bool, typer.Option("--pad", help="Join requests of different lengths: shorter ones are filled up with 0.")
]
Value = Annotated[float | None, typer.Option("--pad-value", help="Fill up with this.", show_default=False)]
Masks = Annotated[
    list[str] | None,
    typer.Option("--mask", help="INPUT=MASK_INPUT: which gets 1 for what is real, 0 for the rest; may be repeated."),
]
Buckets = Annotated[
    list[int] | None, typer.Option("--length-bucket", help="Fill up to such a length; may be repeated.")
]
MaxFraction = Annotated[
    float | None,
    typer.Option("--max-pad-fraction", help="The most to fill in, as a share of a batch.", show_default=False),
]


def read_padding(
    pad: bool, value: float | None, masks: Sequence[str], buckets: Sequence[int], most: float | None
) -> model_pb2.Padding | None:
    """What the options ask for; None if there are none. Whether its numbers make sense is the registry's to say.

    Raises:
        typer.BadParameter: a mask is not like ids=ids_mask, or an input has two.
    """
    if not (pad or masks or buckets) and value is None and most is None:
        return None
    return model_pb2.Padding(
        value=value or 0.0, masks=_masks(masks), buckets=sorted({*buckets}), max_pad_fraction=most or 0.0
    )


def _masks(pairs: Sequence[str]) -> dict[str, str]:
    masks: dict[str, str] = {}
    for pair in pairs:
        name, _, mask = pair.partition("=")
        if not (name and mask):
            raise typer.BadParameter(f"{pair!r} is not INPUT=MASK_INPUT, as in ids=ids_mask", param_hint="--mask")
        if name in masks:
            raise typer.BadParameter(f"{name!r} has two masks, {masks[name]!r} and {mask!r}", param_hint="--mask")
        masks[name] = mask
    return masks
