"""A lower floor never imports a higher one."""

import ast
from pathlib import Path

import jaxdw

PACKAGE = Path(jaxdw.__file__).parent
FLOORS = [
    "errors",
    "files",
    "arch",
    "plan",
    "maps",
    "numerics",
    "machine",
    "verify",
    "models",
    "sweep",
    "report",
    "cli",
]


def imported(path: Path) -> set[str]:
    """Returns the rooms of jaxdw that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {n.split(".")[1] for n in names if n.startswith("jaxdw.")}


def test_imports_go_down_only():
    files = [p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py"]
    assert len(files) > 15
    for path in files:
        floor = FLOORS.index(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
        for room in imported(path):
            assert FLOORS.index(room) <= floor, f"{path} imports jaxdw.{room}"


def test_oracles_share_no_code_with_the_package():
    for path in Path(__file__).parent.glob("oracles*.py"):
        assert "jaxdw" not in path.read_text()


def test_public_names_all_arrive():
    for name in jaxdw.__all__:
        assert getattr(jaxdw, name) is not None
    assert set(jaxdw.__all__) == set(jaxdw._ROOMS)
