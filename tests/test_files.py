"""A file is replaced whole, or left as it was with nothing beside it."""

import os

import pytest

import jaxdw as jd
from jaxdw.files import whole_file


def write(path, text: str, error: Exception | None = None) -> None:
    with whole_file(path) as draft:
        draft.write_text(text)
        if error is not None:
            raise error


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "page.html"
    write(path, "first")
    with whole_file(str(path)) as draft:
        draft.write_text("second")
        assert draft.parent == tmp_path
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError()])
def test_what_breaks_off_leaves_the_file_of_before(tmp_path, error):
    path = tmp_path / "page.html"
    write(path, "first")
    wanted = jd.ConfigError if isinstance(error, OSError) else KeyError
    match = r"page\.html.*No space left" if isinstance(error, OSError) else None
    with pytest.raises(wanted, match=match):
        write(path, "sec", error)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(jd.ConfigError, match=r"No such file.*make the folder"):
        write(tmp_path / "none" / "page.html", "x")


def test_a_file_keeps_its_mode_and_a_link_its_target(tmp_path):
    path, link = tmp_path / "page.html", tmp_path / "link.html"
    write(path, "first")
    path.chmod(0o640)
    link.symlink_to(path)
    write(link, "second")
    assert link.is_symlink()
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_pipe_is_written_to_as_it_stands(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write(path, "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert path.is_fifo()


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_folder_is_no_file(path):
    with pytest.raises(jd.ConfigError, match="not a folder"):
        write(path, "text")


def test_an_error_that_is_not_the_files_passes(tmp_path):
    error = FileNotFoundError(2, "No such file", "elsewhere")
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        write(tmp_path / "page.html", "text", error)
