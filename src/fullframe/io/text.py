"""Text for messages."""


def plural(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> plural(1, "person", "people"), plural(0, "person", "people"), plural(12_345, "frame")
    ('1 person', '0 people', '12,345 frames')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
