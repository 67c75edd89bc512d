"""The words of the command line, as one table that every command takes from.

A new option is one line here and its name in the `take` of its command; help, refusals,
completion and the test that drives every option of every command follow.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from jaxdw.arch.arch import NAMES
from jaxdw.cli import values as v
from jaxdw.plan.findings import SEVERITIES
from jaxdw.plan.program import TTNN
from jaxdw.sweep.axes import AXES, PROGRAMS, Axis

# Source: DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md @6f883191, its own run's weights.
PLANS_BASE_ADDRESS = 0x1D4DA0
ALL = "all"  # of --program: the programs side by side


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option; it means the same in every command that takes it.

    Attributes:
      form: what stands behind it, in capitals; empty for a switch.
      parse: reads that word; raises argparse's ArgumentTypeError with a rule.
      sample: a word that is not the default, for tests and for refusals.
      also: other spellings.
      repeat: whether it may be given several times.
    """

    name: str
    form: str
    parse: Callable[[str], Any] | None
    text: str
    default: str | None = None
    sample: str = ""
    also: tuple[str, ...] = ()
    repeat: bool = False

    @property
    def dest(self) -> str:
        return self.name.removeprefix("--").replace("-", "_")


def _switch(name: str, text: str) -> Option:
    return Option(name, "", None, text)


def _field(name: str, text: str, default: str | None, sample: str) -> Option:
    """Returns the option of a config's field that takes one of few values."""
    parse = v.of_field(name.removeprefix("--").replace("-", "_"))
    return Option(name, "NAME", parse, text, default, sample)


def _singular(axis: Axis) -> tuple[str, ...]:
    """Returns the option of one layer whose values an axis lists."""
    option = "--" + axis.name.replace("_", "-")
    says_whether = axis.legal == (True, False)
    return (option,) if option in OPTIONS and not says_whether else ()


def _sample(axis: Axis) -> str:
    other = (axis.word(value) for value in axis.legal if value not in axis.default)
    return next(other, {"models": "xception", "grids": "4x4"}.get(axis.plural, "2"))


_PROGRAM = (
    f"device program: {', '.join(PROGRAMS)}, or ttnn: the one of the last two that "
    "ttnn 0.81.1 takes"
)
_BASE = (
    "of the weights in every DRAM bank, for the addresses shown; without it that of "
    f"the plans, {PLANS_BASE_ADDRESS:#x}, aligned to the chip"
)
CONVOLUTION = (
    Option(
        "--from", "TEXT|FILE|-", str,
        "take the layer from a paste: pytest node id or parametrize row of tt-metal, "
        "ttnn.conv2d(...) call, TTIR or TTNN text, graph capture; options given beside "
        "it win", None, "no-paste",
    ),
    Option("--pick", "N", str, "with --from, the layer of several to take", None, "1"),
    Option(
        "--models", "NAME|FILE", v.words,
        "take the layer from a network: a name of `jaxdw models`, an .onnx file, "
        "module:function of JAX; options given beside it win", None, "xception",
    ),
    Option(
        "--layer", "NAME", str, "with --models, the layer of several to take", None,
        "conv1",
    ),
    Option(
        "--input", "NAME=1x3x8x8", v.named_sizes,
        "shape of the ONNX file's input, FILE:NAME= that of one of several; may be "
        "repeated", None, "x=1x3x8x8",
        repeat=True,
    ),
    Option("--channels", "N", v.whole(0), "in and out", None, "96"),
    Option("--size", "HxW", v.pair, "of the input, or one number", None, "7x9"),
    Option("--batch", "N", v.whole(0), "images", "1", "2"),
    Option("--kernel", "HxW", v.pair, "or one number", "3x3", "2x3"),
    Option("--stride", "HxW", v.pair, "or one number", "1x1", "2x2"),
    Option(
        "--padding", "P", v.padding,
        "P, HxW, TOPxBOTTOMxLEFTxRIGHT, same or valid", "0", "valid",
    ),
    Option("--dilation", "HxW", v.pair, "or one number", "1x1", "2x1"),
    _field("--dtype", "of activations: bf16, fp32, bfp8", "bfloat16", "fp32"),
    _field("--weights-dtype", "bf16, fp32, bfp8, bfp4", "bfloat16", "bfp8"),
    _field("--output-dtype", "bf16, fp32, bfp8", "bfloat16", "BFLOAT8_B"),
    _switch("--bias", "add one"),
    _field("--activation", "relu, relu6, silu, gelu, gelu_approx", None, "relu6"),
)  # fmt: skip
SHARDING = (
    Option(
        "--scheme", "NAME", v.of_field("scheme"),
        "height, width, block, or auto: the best", "height", "BLOCK_SHARDED",
    ),
    Option("--grid", "XxY", v.sizes, "largest core grid allowed", None, "2x2"),
    Option(
        "--cores", "N|XxY", v.count_or_grid, "these cores, no search", None, "2x1",
    ),
    _field(
        "--orientation", "row_major, or col_major (BLOCK)", "row_major", "COL_MAJOR"
    ),
    Option(
        "--act-block-h-override", "N", v.whole(0), "rows come in multiples of it",
        "0", "64",
    ),
    Option(
        "--input-shard", "RxC", v.sizes, "of an input already sharded: rows, channels",
        None, "32x64",
    ),
    _switch("--reshard-if-not-optimal", "search even if the input is sharded"),
    _field("--output-layout", "tile or row_major", "tile", "ROW_MAJOR"),
    _switch("--enable-act-double-buffer", "as ttnn's option"),
    _switch("--enable-weights-double-buffer", "as ttnn's option"),
    _switch(
        "--program-cache", "the program is called again with tensors at other addresses"
    ),
    _field(
        "--weight-layout", "final, or older: tile_chunks, concatenated", "final",
        "concatenated",
    ),
    Option(
        "--arch", "NAME", v.of_field("arch", NAMES), "chip, or a TOML file",
        "wormhole_b0", "blackhole",
    ),
    Option(
        "--program", "NAME", v.of_field("program", (*PROGRAMS, TTNN, ALL)), _PROGRAM,
        "depthwise", "ttnn",
    ),
)  # fmt: skip
ONLY_TTNN = (
    _field("--input-layout", "row_major or tile", "row_major", "tile"),
    _field("--memory", "l1, or dram: in slices until a launch fits", "l1", "DRAM"),
    Option(
        "--act-block-w-div", "N", v.whole(0), "blocks of a core (WIDTH)", "1", "2"
    ),
    _switch("--config-tensors-in-dram", "the reader's indices come from DRAM"),
    _switch("--full-inner-dim", "all kernel rows in one block (BLOCK)"),
    _switch("--force-split-reader", "two readers wherever they can be"),
    _switch("--enable-activation-reuse", "keep sticks for the next row (HEIGHT)"),
    _switch("--packer-l1-acc", "the packer adds up blocks of a long sum"),
)  # fmt: skip
COMPUTE = (
    _field("--arithmetic", "fpu, the matrix unit, or float32", "fpu", "float32"),
    _field(
        "--math-fidelity", "LoFi to HiFi4, which ttnn defaults to", "LoFi", "hifi4"
    ),
    _switch("--fp32-dest-acc", "a 32-bit Dst"),
)  # fmt: skip
LAYER = {
    "convolution": CONVOLUTION,
    "sharding and chip": SHARDING,
    "options of ttnn 0.81.1's programs only": ONLY_TTNN,
    "compute": COMPUTE,
}
OWN = (
    _switch("--json", "JSON, no tables"),
    Option("--seed", "N", v.seed, "of drawn tensors", "0", "1"),
    Option("--base-address", "BYTES", v.number, _BASE, None, "0x1d4dc0"),
    # tensors and files
    Option("--x", "FILE", v.tensor_file, "input, [N, H, W, C]"),
    Option("--w", "FILE", v.tensor_file, "weights, [C, 1, kh, kw]"),
    Option("--bias-values", "FILE", v.tensor_file, "[C]"),
    Option("--output", "FILE", v.tensor_file, "what the device gave, [N, Ho, Wo, C]"),
    Option("--against", "FILE", v.tensor_file, "compare with what the device gave"),
    Option(
        "--layout", "NAME", str,
        "nhwc or nchw, oihw or hwio, where a shape can be both; for one tensor x=nchw, "
        "output=nchw or w=hwio; may be repeated", None, "nchw", repeat=True,
    ),
    Option(
        "--file-dtype", "DTYPE",
        v.of_field("dtype", ("bfloat16", "float16", "float32", "float64")),
        "of values whose file does not say: raw ones (default: the layer's), those of "
        "a .npy without a type", None, "bf16",
    ),
    Option(
        "--save", "FILE", v.file_to_write,
        "write the output as .npy, [N, Ho, Wo, C] float32, which holds the values of "
        "every output dtype",
    ),
    Option("--prepared", "FILE", v.tensor_file, "prepared weights, .npy or .bin"),
    Option("--html", "FILE", v.file_to_write, "write a page that opens offline"),
    # run
    Option(
        "--draw", "KIND", v.one_of("random", "pattern"),
        "weights drawn: random, or pattern: each its kernel position + 1", "random",
        "pattern",
    ),
    Option(
        "--dump", "KIND", v.one_of("weights", "tiles", "l1"),
        "print prepared weights, DRAM tiles or each core's L1, face by face; may be "
        "repeated", None, "tiles", repeat=True,
    ),
    # plan
    _switch("--table", "Markdown, a row for each plan that fits with --scheme auto"),
    _switch("--args", "compile-time and runtime arguments of every core's kernels"),
    _switch("--pcc", "with --program all, the programs side by side: emulate each"),
    Option(
        "--fail-on", "SEVERITY", v.one_of(*(s.replace(" ", "-") for s in SEVERITIES)),
        f"exit with 1 on a finding this bad or worse that is not assumed: "
        f"{', '.join(s.replace(' ', '-') for s in SEVERITIES)}", None, "performance",
    ),
    # explain
    Option(
        "--weight", "C,KH,KW", v.integers("C,KH,KW"),
        "from one weight to the products that use it", None, "5,1,1",
    ),
    Option(
        "--pixel", "N,Y,X", v.integers("N,Y,X"),
        "with --weight: its product that goes to this output", None, "0,1,1",
    ),
    Option("--tile", "ID", v.integers("ID"), "what a weight tile holds", None, "0"),
    Option(
        "--bank", "B,SLOT", v.integers("B,SLOT"), "the same of a page in a DRAM bank",
        None, "1,0",
    ),
    Option("--core", "X,Y|N", v.core, "a core, by coordinates or number", None, "0,0"),
    Option(
        "--address", "BYTES", v.address,
        "with --core: what that core would read if this stood where its tile id "
        "belongs; base+2048 counts from the weights' address", None, "base+2048",
    ),
    _switch("--allow-files", "a query may read and write files: if you wrote it"),
    # what goes out to other tools, and comes in
    _switch(
        "--ttnn",
        "the call of ttnn, the row of tt-metal's conv tests and the vector of its "
        "sweep that ask for it",
    ),
    Option(
        "--l1-message", "TEXT", str,
        "the library's refusal of circular buffers, beside what each program would "
        "say; --from takes it out of a log", None, "no-message", repeat=True,
    ),
    Option(
        "--visualizer", "FOLDER", v.folder,
        "write a memory report, for ttnn-visualizer --profiler-path FOLDER", None,
        "report",
    ),
    Option(
        "--npe", "FILE.json", v.file_to_write,
        "write the transfers over the NoC as a trace for tt-npe, and each phase as a "
        "workload beside it", None, "npe.json",
    ),
    Option(
        "--csv", "FOLDER", v.folder,
        "also write tiles.csv, cores.csv, l1.csv, and a file for each answer", None,
        "tables",
    ),
    Option(
        "--jax", "MODULE:FUNCTION", str,
        "a JAX function as a model, shapes of its arguments by --input; may be "
        "repeated", None, "no_module:function", repeat=True,
    ),
    Option(
        "--annotate", "OUT.onnx", v.file_to_write,
        "a copy of the one .onnx file of --models with the plans in its nodes, for "
        "Netron", None, "annotated.onnx",
    ),
    # certify, diff, diagnose
    Option("--lock", "FILE", v.file_to_write, "write the maps' digests"),
    Option("--check", "FILE", v.file_to_read, "compare with a lockfile"),
    _switch("--schedule", "judge the readers' protocol: races, hangs, stray writes"),
    Option(
        "--kind", "KIND", v.one_of("matrix", "tiles", "l1"), "of what is prepared",
        "matrix", "tiles",
    ),
    Option("--read-scheme", "NAME", v.of_field("scheme"), "of the plan that reads",
           None, "auto"),
    Option("--read-grid", "XxY", v.sizes, "of the plan that reads", None, "1x1"),
    # accuracy
    Option("--samples", "FOLDER", v.folder,
           "more samples: .npy files, or .npz by input", None, "samples"),
    Option("--metric", "MODULE:FUNCTION", str,
           "called with the outputs and those in float32, arrays by name", None,
           "no_module:function"),
    Option("--target", "FIGURE=LEAST", str,
           "recommend the cheapest mix that keeps it: argmax=1.0, snr=30, pcc=0.99, "
           "metric=0.9", None, "snr=30"),
    Option("--compensate", "HOW", v.one_of("gain"),
           "gain: write files with weights times 1/gain, one for each setting", None,
           "gain"),
    Option("--calibration", "FOLDER", v.folder,
           "samples to measure the gain on; default: those given", None, "samples"),
    _switch("--blame", "each layer alone, and all but it, on the first sample"),
    _switch(
        "--fold", "write a file whose layers hold the batch normalisation behind"),
    # sweep
    Option("--out", "FOLDER", v.folder, "folder for the rows", None, "rows"),
    Option("--space", "FILE", v.file_to_read, "TOML of axes; options given here win"),
    Option("--filter", "EXPR", str, "such as 'channels >= 256 and kernel == 5'", None,
           "channels==32"),
    Option("--sample", "N", v.whole(0), "so many points, drawn by --seed", None, "3"),
    _switch("--plan-only", "no emulation"),
    Option("--processes", "N", v.whole(1), "of this machine; default: all", None, "1"),
    Option("--dask", "ADDRESS", str, "of a Dask scheduler: run on its workers", None,
           "none://here"),
)  # fmt: skip
OPTIONS = {option.name: option for group in (*LAYER.values(), OWN) for option in group}
AXIS_OPTIONS = tuple(
    Option(
        axis.option, "LIST", v.words, axis.choices, None,
        _sample(axis), _singular(axis),
    )
    for axis in AXES
)  # fmt: skip
MODELS = AXIS_OPTIONS[0]

# what a command takes for a layer's sake, and says aloud that it does not count
_NUMBERS = ("--arithmetic", "--math-fidelity")
_LATER = (*_NUMBERS, "--fp32-dest-acc", "--output-dtype", "--output-layout")
_LATER += ("--activation", "--enable-act-double-buffer", "--program-cache")
UNUSED: dict[str, tuple[str, ...]] = {
    "plan": ("--arithmetic",),
    "explain": _LATER,
    "certify": _NUMBERS,
    "diff": (*_LATER, "--dtype", "--enable-weights-double-buffer"),
}


def samples(options: Iterable[Option]) -> dict[str, str]:
    """Returns a word for each option that has one."""
    return {option.name: option.sample for option in options if option.sample}
