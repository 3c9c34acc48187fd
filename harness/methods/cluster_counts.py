"""Lists of cluster counts that a method takes from one K, cut to what a pair allows."""

from collections.abc import Sequence

from harness.errors import UsageError


def multiples(k: int, factors: str) -> tuple[int, ...]:
    """``k`` times each of the factors, such as ``"1,2,4"``.

    Raises:
        UsageError: the factors are not whole numbers from 1 on, separated by commas.
    """
    parts = [part.strip() for part in factors.split(",")]
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise UsageError(f"k_factors takes whole numbers such as 1,2,4, not '{factors}'.")
    return tuple(k * int(part) for part in parts)


def cut_to_images(
    ks: Sequence[int], images: int, what: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Replaces the counts above the images of the smaller domain by that number, once.

    Returns:
        The counts in order, and a note on what was cut (empty if nothing was).
    """
    if max(ks) <= images:
        return tuple(ks), ()
    kept = tuple(k for k in ks if k <= images)
    if images not in kept:
        kept = (*kept, images)
    wanted = ", ".join(str(k) for k in dict.fromkeys(ks))
    taken = ", ".join(str(k) for k in dict.fromkeys(kept))
    note = f"{what} {wanted} cut to {taken}: the smaller domain has {images} images."
    return kept, (note,)
