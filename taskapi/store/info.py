"""What a server replies to INFO."""


def value_of(info: str, name: str) -> str:
    """Return a value from the reply to INFO; empty if there is none of that name."""
    return info.partition(f"\n{name}:")[2].partition("\r")[0]
