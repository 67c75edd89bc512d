"""The layer that names and values of a paste describe."""

import dataclasses
from typing import Any

from jaxdw.errors import ConfigError, refuse
from jaxdw.inputs.cores import read_cores
from jaxdw.inputs.fields import NAMES, OPTIONS, Fields
from jaxdw.inputs.names import (
    ACTIVATIONS,
    DTYPES,
    FIDELITIES,
    LAYOUTS,
    SCHEMES,
    is_name,
    read_name,
)
from jaxdw.inputs.source import Call
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pasted:
    """One layer of a paste; `form` says in words what it was."""

    form: str
    conv: ConvConfig
    shard: ShardConfig
    compute: ComputeConfig


def layer_of(found: dict[str, Any], form: str, *, one_row: bool = False) -> Pasted:
    """Returns the layer that names and values describe.

    What is not said is as ttnn has it: HiFi4, tiles out, a scheme of its own, slices
    from DRAM unless `slice_config` says L1.

    Args:
      one_row: of a `conv1d`, whose sizes are those of one axis.

    Raises:
      ConfigError: every name that is not known and every value that is not legal; a
        convolution that is not depthwise, sizes missing.
    """
    fields = Fields(found, form)
    sizes = _sizes(fields, one_row)
    dtypes = {
        key: fields.named(key, DTYPES, "bfloat16")
        for key in ("dtype", "weights_dtype", "output_dtype")
    }
    activation = _activation(fields)
    compute = ComputeConfig(
        math_fidelity=fields.named("math_fidelity", FIDELITIES, "HiFi4"),
        fp32_dest_acc=fields.flag("fp32_dest_acc"),
        packer_l1_acc=fields.flag("packer_l1_acc"),
    )
    shard = _shard(fields)
    refuse(fields.problems)
    bias = fields.given.get("bias") not in (None, False, 0, "None", "False", ())
    conv = ConvConfig(**sizes, **dtypes, bias=bias, activation=activation)
    refuse([f"{problem}, in {form}" for problem in conv.problems()])
    return Pasted(form=form, conv=conv, shard=shard, compute=compute)


def _sizes(fields: Fields, one_row: bool) -> dict[str, Any]:
    channels = fields.size("channels_in")
    for key, default in (("groups", 1), ("channels_out", None)):
        count = fields.size(key, default)
        if not fields.problems and count != channels:
            fields.problems.append(
                f"`{NAMES[key][0]}` (={count}) of {fields.form} must equal in_channels "
                f"(={channels}): jaxdw is for depthwise convolutions"
            )
    edges = [fields.given.get(edge) for edge in ("top", "bottom", "left", "right")]
    if edges != [None] * 4:
        fields.given["padding"] = tuple(edge or 0 for edge in edges)
    found: dict[str, Any] = {
        "channels": channels,
        "batch": fields.size("batch", 1),
        "height": 1 if one_row else fields.size("height"),
        "width": fields.size("width"),
        "kernel": fields.pair("kernel", None),
        "stride": fields.pair("stride", (1, 1)),
        "dilation": fields.pair("dilation", (1, 1)),
        "padding": fields.pair("padding", (0, 0)),
    }
    if one_row:
        for key in ("kernel", "stride", "dilation"):
            found[key] = (1, found[key][-1])
        found["padding"] = (0, 0, found["padding"][0], found["padding"][-1])
    return found


def _activation(fields: Fields) -> Any:
    value: Any = fields.given.get("activation")
    fast = False
    if isinstance(value, Call):  # ttnn.UnaryWithParam(ttnn.UnaryOpType.GELU, 1.0)
        fast = len(value.args) > 1 and bool(value.args[1])
        value = value.args[0] if value.args else value.kwargs.get("op_type")
    if value in (None, "", "None"):
        return None
    if not is_name(value, ACTIVATIONS):
        fields.problems.append(
            f"`activation` (={value}) of {fields.form} must be one of "
            f"{', '.join(ACTIVATIONS)}; leave another out and plan without it"
        )
        return None
    name = read_name("activation", value, ACTIVATIONS)
    return "gelu_approx" if name == "gelu" and fast else name


def _shard(fields: Fields) -> ShardConfig:
    options: dict[str, Any] = {}
    for name in OPTIONS:
        value = fields.given.get(name)
        if value in (None, "None"):
            continue
        numeric = name in ("act_block_h_override", "act_block_w_div")
        if numeric and type(value) is not int:
            fields.problems.append(
                f"`{name}` (={value}) of {fields.form} must be an integer"
            )
        else:
            options[name] = value if numeric else fields.flag(name)
    for key in ("folding", "in_place"):
        if fields.flag(key):
            fields.problems.append(
                f"`{NAMES[key][0]}` (=True) of {fields.form} is not modelled; set it "
                "to False"
            )
    scheme = fields.named("scheme", SCHEMES, "auto")
    if "scheme" not in fields.given and "one_axis" in fields.given:
        scheme = "height" if fields.flag("one_axis") else "block"
    options |= _overrides(fields)
    if fields.flag("use_cores"):
        try:
            options["cores"] = read_cores(fields.given.get("cores"))
        except ConfigError as error:
            fields.problems.append(f"{error}, in {fields.form}")
    if fields.flag("transpose_shards"):
        options["orientation"] = "col_major"
    return ShardConfig(
        scheme=scheme,
        input_layout=fields.named("input_layout", LAYOUTS, "row_major"),
        output_layout=fields.named("output_layout", LAYOUTS, "tile"),
        memory=_memory(fields),
        **options,
    )


def _memory(fields: Fields) -> Any:
    """Returns where the input lies; ttnn slices from DRAM unless told otherwise."""
    slices = fields.given.get("slices")
    said = str(slices)
    if isinstance(slices, Call):
        said = " ".join(map(str, (slices.name, *slices.kwargs.values())))
    if "l1full" in said.replace("_", "").lower():
        return "l1"
    if said != "None":
        fields.problems.append(
            f"`slice_config` (={said}) of {fields.form} must be "
            "Conv2dL1FullSliceConfig or left out: slices of one's own are not modelled"
        )
    return "dram"


def _overrides(fields: Fields) -> dict[str, Any]:
    """Returns the options of a `config_override` of tt-metal's older tests."""
    override = fields.given.get("override")
    if override in (None, "None"):
        return {}
    names = {
        "act_block_h": "act_block_h_override",
        "act_block_w_div": "act_block_w_div",
    }
    if not isinstance(override, dict):
        fields.problems.append(
            f"`config_override` (={override}) of {fields.form} must be a dict"
        )
        return {}
    fields.problems += [
        f"`config_override` key {key!r} of {fields.form} must be act_block_h "
        "or act_block_w_div"
        for key in override
        if key not in names
    ]
    return {names[key]: value for key, value in override.items() if key in names}
