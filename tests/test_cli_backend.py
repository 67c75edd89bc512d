"""Which backend the environment asks for, command by command."""

import pytest

from jaxdw import cli
from jaxdw.launch import emulator
from jaxdw.sweep import runner

LAYER = ["--channels", "32", "--size", "4x4", "--padding", "1"]


@pytest.fixture
def backends(monkeypatch) -> list[str]:
    """Returns the backend of every run."""
    found, run = [], emulator.run

    def spy(*arguments, backend, **options):
        found.append(backend)
        return run(*arguments, **options)

    monkeypatch.setattr(emulator, "run", spy)
    return found


@pytest.mark.parametrize(
    ("asked", "backend"), [(None, "xla"), ("", "xla"), ("0", "xla"), ("1", "pallas")]
)
def test_run_takes_the_backend_that_the_environment_asks_for(
    asked, backend, backends, monkeypatch, capsys
):
    monkeypatch.delenv("JAXDW_PALLAS", raising=False)
    if asked is not None:
        monkeypatch.setenv("JAXDW_PALLAS", asked)
    assert cli.main(["run", *LAYER]) == 0
    assert backends == [backend]
    assert "PASS" in capsys.readouterr().out


def test_another_value_is_refused(backends, monkeypatch, capsys):
    monkeypatch.setenv("JAXDW_PALLAS", "yes")
    assert cli.main(["run", *LAYER]) == cli.REFUSED
    assert backends == []
    assert "`JAXDW_PALLAS` (='yes') must be 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("faults", LAYER),
        ("diagnose", [*LAYER, "--output", "some.npy"]),
        ("sweep", ["--models", "mobilenet_v2", "--out", "none"]),
    ],
)
def test_commands_that_run_on_xla_refuse_the_kernel(
    command, options, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXDW_PALLAS", "1")
    (tmp_path / "some.npy").touch()
    assert cli.main([command, *options]) == cli.REFUSED
    assert f"must be 0 for `jaxdw {command}`" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["some.npy"]


def test_a_sweep_that_only_plans_needs_no_backend(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXDW_PALLAS", "1")
    monkeypatch.setattr(runner, "run_sweep", lambda *arguments, **options: [])
    arguments = ["--models", "mobilenet_v2", "--out", str(tmp_path / "rows")]
    assert cli.main(["sweep", *arguments, "--plan-only"]) == 0
