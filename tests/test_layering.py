"""A lower floor never imports a higher one, and no two files import each other."""

import ast
import graphlib
from pathlib import Path

import jaxdw

PACKAGE = Path(jaxdw.__file__).parent
FLOORS = [  # from the ground up; rooms of one tuple may not import each other
    ("errors",),
    ("escapes", "files", "words", "shown", "xla"),
    ("arch",),
    ("plan",),
    ("arrays",),
    ("maps",),
    ("numerics", "models"),
    ("layouts", "judge", "machine", "schedule", "trace", "inputs"),
    ("launch",),
    ("faults", "sweep"),
    ("networks",),
    ("report", "exports"),
    ("cli", "testing"),
    ("__main__",),
]
# within a floor, what one room may take of another
BESIDE = {("numerics", "maps"), ("layouts", "trace"), ("exports", "report")}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def source_files() -> list[Path]:
    files = [p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py"]
    assert len(files) > 60
    return files


def imported(path: Path) -> set[Path]:
    """Returns the files of jaxdw that a file imports, at any depth, for types too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            names.add(node.module)
    found = set()
    for name in names:
        if name.startswith("jaxdw."):
            file = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
            if file.exists():
                found.add(file)
    return found


def test_imports_go_down_only():
    height = {name: level for level, names in enumerate(FLOORS) for name in names}
    for path in source_files():
        own = room(path)
        for target in imported(path):
            other = room(target)
            allowed = (
                own == other or height[other] < height[own] or (own, other) in BESIDE
            )
            assert allowed, f"{path} imports {target}"


def test_no_file_imports_itself_through_others():
    graph = {path: imported(path) for path in source_files()}
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_no_file_is_long_and_no_folder_holds_most():
    lines: dict[str, int] = {}
    for path in source_files():
        length = len(path.read_text().splitlines())
        assert length <= 400, f"{path} has {length} lines"
        folder = str(path.parent.relative_to(PACKAGE))
        lines[folder] = lines.get(folder, 0) + length
    largest = max(lines, key=lambda name: lines[name])
    assert lines[largest] <= 0.15 * sum(lines.values()), (largest, lines)


def test_oracles_share_no_code_with_the_package():
    for path in Path(__file__).parent.glob("oracles*.py"):
        assert "jaxdw" not in path.read_text()


def test_public_names_all_arrive():
    for name in jaxdw.__all__:
        assert getattr(jaxdw, name) is not None
    assert set(jaxdw.__all__) == set(jaxdw._ROOMS)
