"""A sweep of a JAX function named on the command line."""

import json

import pytest

from jaxdw.cli import main

MODULE = """
import jax
from jax import lax


def forward(x, mask):
    w = jax.numpy.ones((3, 3, 1, 8))
    y = lax.conv_general_dilated(
        x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=8,
    )
    return jax.nn.relu(y) * mask


number = 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_network_of_a_user.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def sweep(function: str, *words: str) -> int:
    return main(
        [
            "sweep",
            "--jax",
            function,
            *words,
            *"--schemes block --out rows".split(),
            "--plan-only",
            "--processes",
            "1",
        ]
    )


def test_its_layers_are_swept(folder):
    name = "own_network_of_a_user:forward"
    assert sweep(name, "--input", "x=2x9x9x8", "--input", "mask=1x5x5x8") == 0
    (row,) = map(json.loads, (folder / "rows" / "rows.jsonl").read_text().splitlines())
    assert (row["model"], row["layer"], row["times"]) == (name, "conv", 1)
    assert (row["batch"], row["height"], row["padding"]) == (2, 9, "1x1x1x1")
    assert (row["activation"], row["scheme"]) == ("relu", "block")


@pytest.mark.parametrize(
    ("function", "words", "said"),
    [
        ("forward", (), "takes (x, mask): missing a required argument: 'x'; give each"),
        ("forward", ("x=1x9x9x8",), "'mask'; give each a shape, --input mask=1x224"),
        ("forward", ("x=1x9x9x8", "mask=8", "y=1"), "unexpected keyword argument 'y'"),
        (
            "forward",
            ("x=1x9x9x7", "mask=8"),
            "on these shapes: ValueError: conv_general",
        ),
        ("backward", (), "can be imported: module 'own_network_of_a_user' has no"),
        ("number", (), "must name a function, not 7"),
    ],
)
def test_what_cannot_be_called_is_refused_by_name(
    folder, capsys, function, words, said
):
    given = [part for word in words for part in ("--input", word)]
    assert sweep(f"own_network_of_a_user:{function}", *given) == 2
    assert said in capsys.readouterr().err


def test_a_module_that_is_not_there_and_a_bare_name_are_refused(folder, capsys):
    assert sweep("no_such_module_of_a_user:f") == 2
    assert "No module named 'no_such_module_of_a_user'" in capsys.readouterr().err
    assert sweep("own_network_of_a_user") == 2
    assert "module:function" in capsys.readouterr().err
