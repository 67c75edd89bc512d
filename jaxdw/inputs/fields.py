"""What tt-metal and tt-mlir call the facts of a layer, and how values are read.

Every form of paste ends here as names and values. A name that is not in the tables is
refused: it could change the layer.
"""

from typing import Any

from jaxdw.errors import ConfigError, refuse
from jaxdw.inputs.names import read_name

NAMES = {  # by what each means: the names that are taken for it
    "batch": ("batch", "batch_size", "N"),
    "channels_in": ("in_channels", "input_channels", "num_input_channels"),
    "channels_out": ("out_channels", "output_channels", "num_output_channels"),
    "groups": ("groups", "group", "conv_groups"),
    "height": ("input_height", "height", "input_h"),
    "width": ("input_width", "width", "input_w", "input_length"),
    "kernel": ("kernel_size", "kernel", "filter", "filter_size"),
    "kernel_h": ("kernel_height", "filter_height", "kernel_h"),
    "kernel_w": ("kernel_width", "filter_width", "kernel_w"),
    "stride": ("stride", "strides"),
    "stride_h": ("stride_h", "stride_height"),
    "stride_w": ("stride_w", "stride_width"),
    "padding": ("padding", "pad"),
    "padding_h": ("pad_h", "padding_h", "pad_height"),
    "padding_w": ("pad_w", "padding_w", "pad_width"),
    "top": ("padding_top",),
    "bottom": ("padding_bottom",),
    "left": ("padding_left",),
    "right": ("padding_right",),
    "dilation": ("dilation", "dilations"),
    "dilation_h": ("dilation_h", "dilation_height"),
    "dilation_w": ("dilation_w", "dilation_width"),
    "bias": ("has_bias", "bias", "bias_tensor", "bias_shape", "with_bias"),
    "input_shape": ("input_shape",),
    "weight_shape": ("weight_shape",),
    "input_spec": ("input_spec", "input_specs"),
    "dtype": ("input_dtype", "activations_dtype"),
    "weights_dtype": ("weights_dtype", "weight_dtype"),
    "output_dtype": ("output_dtype", "dtype"),
    "activation": ("activation",),
    "scheme": ("shard_layout", "sharding_scheme"),
    "input_layout": ("input_layout",),
    "output_layout": ("output_layout",),
    "math_fidelity": ("math_fidelity",),
    "fp32_dest_acc": ("fp32_dest_acc_en", "fp32_accum", "fp32_dest_acc"),
    "packer_l1_acc": ("packer_l1_acc",),
    "slices": ("slice_config", "conv2d_slice_config"),
    "cores": ("core_grid",),
    "use_cores": ("override_sharding_config",),
    "transpose_shards": ("transpose_shards",),
    "one_axis": ("use_1d_systolic_array",),
    "override": ("config_override",),
    "folding": ("enable_kernel_stride_folding",),
    "in_place": ("in_place",),
}
OPTIONS = (  # named and meant alike here
    "act_block_h_override", "act_block_w_div", "reshard_if_not_optimal",
    "enable_act_double_buffer", "enable_weights_double_buffer", "full_inner_dim",
    "config_tensors_in_dram", "enable_activation_reuse", "force_split_reader",
)  # fmt: skip
# What changes nothing that is planned: tensors, devices, when memory is given back.
_WITHOUT_EFFECT = {
    "device", "device_params", "input_tensor", "weight_tensor", "bias_dtype",
    "return_output_dim", "return_weights_and_bias", "memory_config", "queue_id",
    "deallocate_activation", "reallocate_halo_output", "input_channels_alignment",
    "preprocess_weights_on_device", "always_preprocess_weights", "math_approx_mode",
    "dst_full_sync_en", "conv_op_cache", "reader_patterns_cache", "debug",
    "mesh_device", "torch_tensor_map", "auto_shard", "transpose_mcast",
    "enable_split_reader", "enable_subblock_padding", "has_side_effects", "pcc",
}  # fmt: skip
_MEANT = {name: meant for meant, names in NAMES.items() for name in names}
_MEANT |= {name: name for name in OPTIONS}
_BOOLS = {"true": True, "1": True, "false": False, "0": False, "none": False}


class Fields:
    """The facts of one paste by what they mean; what is wrong with them is gathered.

    Attributes:
      form: what was pasted, in words.
      problems: one sentence for each value that is not legal.
    """

    def __init__(self, found: dict[str, Any], form: str):
        """Takes names and values.

        Raises:
          ConfigError: every name that is not known.
        """
        self.form = form
        self.problems: list[str] = []
        known = _MEANT.keys() | _WITHOUT_EFFECT
        refuse(
            [
                f"`{name}` of {form} is not known here; leave it out if it changes "
                "nothing"
                for name in found
                if name not in known
            ]
        )
        self.given = {
            _MEANT[key]: value for key, value in found.items() if key in _MEANT
        }
        self._take_apart()

    def _take_apart(self) -> None:
        """Makes sizes of shapes and specs."""
        given = self.given
        if (spec := given.pop("input_spec", None)) is not None:
            given |= read_spec(spec)
        if (shape := given.pop("input_shape", None)) is not None:
            sizes = self.integers("input_shape", shape, (4,))
            names = ("batch", "channels_in", "height", "width")
            given |= dict(zip(names, sizes, strict=True))
        if (weights := given.pop("weight_shape", None)) is not None:
            sizes = self.integers("weight_shape", weights, (4,))
            given |= {"channels_out": sizes[0], "kernel": sizes[2:]}

    def integers(self, name: str, value: Any, counts: tuple[int, ...]) -> tuple:
        """Returns so many integers.

        Raises:
          ConfigError: another number of them, or something else.
        """
        values = value if isinstance(value, tuple) else (value,)
        if len(values) in counts and all(type(item) is int for item in values):
            return values
        lengths = " or ".join(map(str, counts))
        raise ConfigError(
            f"`{name}` (={_shown(value)}) of {self.form} must be {lengths} integers; "
            "write them out"
        )

    def size(self, key: str, default: int | None = None) -> int:
        """Returns an integer; 1 if it is missing or something else, which is told."""
        value = self.given.get(key, default)
        name = NAMES[key][0]
        if type(value) is int:
            return value
        if value is None:
            self.problems.append(f"`{name}` is missing from {self.form}; add it")
        else:
            self.problems.append(
                f"`{name}` (={_shown(value)}) of {self.form} must be an integer; write "
                "its value"
            )
        return 1

    def pair(self, key: str, default: tuple[int, int] | None) -> tuple[int, ...]:
        """Returns a pair, or four edges of padding, however it is written."""
        value = self.given.get(key)
        parts = [self.given.get(f"{key}_{axis}") for axis in "hw"]
        if value is None and parts != [None, None]:
            value = tuple(parts)
        if value is None and default is not None:
            return default
        if value is None:
            name = NAMES[key][0]
            self.problems.append(f"`{name}` is missing from {self.form}; add it")
            return (1, 1)
        counts = (1, 2, 4) if key == "padding" else (1, 2)
        try:
            found = self.integers(NAMES[key][0], value, counts)
        except ConfigError as error:
            self.problems.append(str(error))
            return (1, 1)
        return found * 2 if len(found) == 1 else found

    def named(self, key: str, names: dict[str, tuple[str, ...]], default: Any) -> Any:
        """Returns the value that a word of ttnn stands for."""
        value = self.given.get(key)
        if value in (None, "None"):
            return default
        try:
            return read_name(NAMES[key][0], _shown(value), names)
        except ConfigError as error:
            self.problems.append(f"{error}, in {self.form}")
            return default

    def flag(self, key: str) -> bool:
        """Returns True or False, as Python or MLIR write it."""
        said = str(self.given.get(key)).lower()
        if said in _BOOLS:
            return _BOOLS[said]
        name = NAMES.get(key, (key,))[0]
        self.problems.append(
            f"`{name}` (={self.given[key]}) of {self.form} must be True or False"
        )
        return False


def _shown(value: Any) -> str:
    return getattr(value, "name", None) or str(value)


def read_spec(spec: Any) -> dict[str, Any]:
    """Returns the sizes of an input spec of tt-metal's conv2d sweeps.

    Its last entries are (groups, bias, dilation), or (groups, dilation h, dilation w,
    bias). Source: conv2d_short_sweep.py @6d460b7c; tt-metal issue #20489.

    Raises:
      ConfigError: another number of entries.
    """
    names = [
        "batch", "channels_out", "channels_in", "height", "width", "kernel_h",
        "kernel_w", "stride_h", "stride_w", "padding_h", "padding_w", "groups",
    ]  # fmt: skip
    tails = {14: ["bias", "dilation"], 15: ["dilation_h", "dilation_w", "bias"]}
    if not isinstance(spec, tuple) or len(spec) not in tails:
        raise ConfigError(
            f"`input_spec` (={spec}) must have 14 or 15 entries: batch, channels out "
            "and in, height, width, kernel, stride, pad, groups, then bias, dilation"
        )
    return dict(zip([*names, *tails[len(spec)]], spec, strict=True))
