"""Plots of measurements; `--plot` needs the extra `html`."""

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdw.cli.values import file_to_write


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--plot`, refused at once where it could not be drawn at the end."""
    parser.add_argument("--plot", type=_plot_file, metavar="FILE", help="PNG or SVG")


def _plot_file(path: str) -> str:
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError(
            "needs matplotlib; use `pip install 'jaxdw[html]'`"
        )
    return file_to_write(path)


def draw_lines(
    path: str,
    lines: Mapping[str, tuple[Sequence[Any], Sequence[float]]],
    *,
    across: str,
    title: str,
    log_across: bool = False,
) -> None:
    """Draws milliseconds, logarithmic, of each named line of (x, seconds)."""
    figure, axes = _axes(title, 10.0, 6.0)
    for name, (x, seconds) in lines.items():
        axes.plot(x, [s * 1e3 for s in seconds], marker="o", markersize=4, label=name)
    axes.set_yscale("log")
    if log_across:
        axes.set_xscale("log")
    else:
        axes.tick_params(axis="x", rotation=30)
    axes.set_xlabel(across)
    axes.set_ylabel("ms, median")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=150)


def draw_bars(
    path: str, values: Mapping[str, float], *, across: str, title: str
) -> None:
    """Draws a horizontal bar for each value, the first on top."""
    figure, axes = _axes(title, 8.0, 1.5 + 0.3 * len(values))
    bars = axes.barh(list(values), list(values.values()))
    axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.set_xlabel(across)
    figure.savefig(path, dpi=150)


def _axes(title: str, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes
