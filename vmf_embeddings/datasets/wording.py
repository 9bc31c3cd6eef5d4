"""Numbers of things in messages, with the plural where it belongs."""


def counted(n: int, noun: str) -> str:
    """A number and its noun, whose last word takes the plural.

    >>> counted(1, "train image"), counted(2, "class"), counted(0, "copy")
    ('1 train image', '2 classes', '0 copies')
    """
    if n == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{n} {noun[:-1]}ies"
    return f"{n} {noun}{'es' if noun.endswith('s') else 's'}"
