VERSION: int
KINDS: tuple[str, ...]

def measure(
    address: int, size: int, kind: int, /
) -> int | tuple[int, int, int, int, float, float]: ...
