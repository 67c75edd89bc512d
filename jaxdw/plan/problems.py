"""Sentences for values that break a rule: the value, the rule, a way out."""

from jaxdw.words import nearest


def is_int(value: object) -> bool:
    """Whether a value is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def int_problem(name: str, value: object, least: int) -> list[str]:
    """Returns a sentence if a value is no integer from `least` up."""
    if is_int(value) and value >= least:  # pyright: ignore[reportOperatorIssue]
        return []
    return [f"`{name}` (={value!r}) must be an integer >= {least}; try {least}"]


def ints_problem(name: str, value: object, count: int, least: int) -> list[str]:
    """Returns a sentence if a value is not `count` integers from `least` up."""
    ints = value if isinstance(value, tuple) else ()
    if len(ints) == count and all(is_int(v) and v >= least for v in ints):
        return []
    legal = (least,) * count
    return [f"`{name}` (={value!r}) must be {count} integers >= {least}; try {legal}"]


def choice_problem(name: str, value: object, choices: tuple) -> list[str]:
    """Returns a sentence if a value is not among `choices`."""
    if value in choices:
        return []
    legal = ", ".join(map(str, choices))
    near = nearest(value, choices)
    return [f"`{name}` (={value!r}) must be one of {legal}; try {near!r}"]


def bool_problem(name: str, value: object) -> list[str]:
    """Returns a sentence if a value is neither True nor False."""
    if type(value) is bool:
        return []
    return [f"`{name}` (={value!r}) must be True or False"]


def grid_problem(
    name: str, value: object, limit: tuple[int, int], of: str
) -> list[str]:
    """Returns a sentence if (x, y) does not lie inside the cores of a chip."""
    broken = ints_problem(name, value, 2, 1)
    if broken or not isinstance(value, tuple):
        return broken
    if value[0] <= limit[0] and value[1] <= limit[1]:
        return []
    near = tuple(min(a, b) for a, b in zip(value, limit, strict=True))
    problem = (
        f"`{name}` (={value}, x and y) must lie inside the {limit[0]}x{limit[1]} "
        f"cores of {of}; try {near}"
    )
    return [problem]
