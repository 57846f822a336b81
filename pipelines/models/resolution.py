"""How far a trunk made for 224 pixels may shrink a small image."""


def num_halvings(image_size: int, wanted: int, *, smallest: int = 2) -> int:
    """Return how many of `wanted` halvings a map of `image_size` survives with a side of at least `smallest`."""
    count = 0
    while count < wanted and image_size // 2 >= smallest:
        image_size //= 2
        count += 1
    return count
