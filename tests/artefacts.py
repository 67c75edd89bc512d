"""What people paste, written anew in the forms of public issues of Tenstorrent's.

Each is a text and the layer in it. Forms: tt-metal #25160, #16451, #17947, #33447,
#20489, #32610, #47799, #12668, #12624; tt-mlir #3643, #3688, #1784.
"""

import jaxdw as jd

NODE_ID = (
    "tests/ttnn/nightly/unit_tests/operations/conv/test_conv2d.py::test_conv_features["
    "device_params={'l1_small_size': 16384}-batch=2-input_channels=96"
    "-output_channels=96-input_height=20-input_width=18-groups=96-kernel=(5, 3)"
    "-stride=(2, 1)-padding=(2, 1)"
    "-dilation=(1, 1)-shard_layout=TensorMemoryLayout.WIDTH_SHARDED-has_bias=True"
    "-weights_dtype=DataType.BFLOAT8_B-output_dtype=DataType.BFLOAT16"
    "-math_fidelity=MathFidelity.HiFi2-fp32_accum=False-packer_l1_acc=False"
    "-act_block_h_override=64-config_override=None-activation=None]"
)
FAILED = (
    "FAILED tests/ttnn/unit_tests/operations/test_new_conv2d.py::test_mobile_conv["
    "auto_shard-no_bias-pack_l1-math_fidelity=MathFidelity.LoFi"
    "-activations_dtype=DataType.BFLOAT16-weights_dtype=DataType.BFLOAT16-batch_size=8"
    "-output_channels=144-input_channels=144-groups=144-input_height=28-input_width=28"
    "-filter_height=3-filter_width=3-stride_h=2-stride_w=2-pad_h=1-pad_w=1"
    "-use_1d_systolic_array=False-config_override={'act_block_h': 32}] - RuntimeError"
)
ROW = """
    @pytest.mark.parametrize("device_params", [{"l1_small_size": 16384}], indirect=True)
    @pytest.mark.parametrize(
        "batch_size, output_channels, input_channels, input_height, input_width, "
        "filter_height, filter_width, stride_h, stride_w, pad_h, pad_w, groups, "
        "use_1d_systolic_array, config_override",
        (
            (1, 320, 320, 40, 40, 3, 3, 1, 1, 1, 1, 320, True, {"act_block_h": 2 * 32}),
        ),
    )
    @pytest.mark.parametrize("weights_dtype", [ttnn.bfloat8_b])
    @pytest.mark.parametrize("math_fidelity", [ttnn.MathFidelity.LoFi])
    def test_yolo_depthwise(
"""
SHAPES = """
import pytest, ttnn

@pytest.mark.parametrize("device_params", [{"l1_small_size": 32768}], indirect=True)
@pytest.mark.parametrize(
    "input_shape, weight_shape, bias_shape, stride, padding, dilation, groups",
    [pytest.param((4, 48, 33, 31), (48, 1, 3, 5), (1, 1, 1, 48), 1, (1, 2), 1, 48)],
)
def test_conv2d_with_pcc(device, input_shape, weight_shape, bias_shape, stride):
    out = ttnn.conv2d(input_tensor=x, weight_tensor=w, device=device)
"""
VECTOR = "[1, 120, 120, 14, 14, 1, 5, 1, 1, 0, 2, 120, False, 1],"
SPEC = (
    'pytest "tests/ttnn/nightly/unit_tests/operations/conv/test_conv2d_sweeps.py::'
    "test_ttnn_pytorch_sweep[device_params={'l1_small_size': 16384}"
    '-input_spec=[2, 672, 672, 27, 25, 5, 5, 2, 2, 0, 1, 672, 1, 1, True]]"'
)
EMITPY = """
    v3 = ttnn.conv2d(
        input_tensor=v1,
        weight_tensor=v2,
        device=v0,
        in_channels=384,
        out_channels=384,
        batch_size=8,
        input_height=14,
        input_width=14,
        kernel_size=[3, 3],
        stride=[1, 1],
        padding=[1, 1, 1, 1],
        dilation=[1, 1],
        groups=384,
        bias_tensor=v5,
        dtype=ttnn.DataType.BFLOAT16,
        conv_config=ttnn.Conv2dConfig(
            weights_dtype=ttnn.DataType.BFLOAT16,
            activation=ttnn.UnaryWithParam(ttnn.UnaryOpType.RELU6),
            deallocate_activation=True,
            config_tensors_in_dram=True,
            act_block_h_override=0,
            shard_layout=ttnn.TensorMemoryLayout.BLOCK_SHARDED,
            override_sharding_config=True,
            core_grid=ttnn.CoreRangeSet(
                [ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(5, 6))]
            ),
            transpose_shards=False,
            enable_kernel_stride_folding=False,
        ),
        compute_config=ttnn.WormholeComputeKernelConfig(
            math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True
        ),
        slice_config=ttnn.Conv2dSliceConfig(
            slice_type=ttnn.Conv2dL1Full, num_slices=0
        ),
        memory_config=ttnn.MemoryConfig(
            ttnn.TensorMemoryLayout.INTERLEAVED, ttnn.BufferType.DRAM, None
        ),
    )
"""
SCRIPT = """
import torch
import ttnn

C, LENGTH, TAPS = 1280, 20, 4   # depthwise: groups = C
LEFT = TAPS - 1

device = ttnn.open_device(device_id=0, l1_small_size=32768)
conv_config = ttnn.Conv2dConfig(weights_dtype=ttnn.bfloat16)
conv_config.config_tensors_in_dram = True
conv_config.output_layout = ttnn.ROW_MAJOR_LAYOUT
compute = ttnn.init_device_compute_kernel_config(
    device.arch(), math_fidelity=ttnn.MathFidelity.HiFi3, fp32_dest_acc_en=False,
    packer_l1_acc=True,
)
out, [h, w] = ttnn.conv2d(
    input_tensor=x, weight_tensor=weights, bias_tensor=None, device=device,
    in_channels=C, out_channels=C, groups=C, batch_size=1,
    input_height=1, input_width=LENGTH, kernel_size=(1, TAPS), stride=(1, 1),
    padding=(0, 0, LEFT, 0), dilation=(1, 1), conv_config=conv_config,
    compute_config=compute, return_output_dim=True,
)
"""
CONV1D = """
tt_out, out_len = ttnn.conv1d(
    tt_x, tt_w, in_channels=2560, out_channels=2560, groups=2560, device=device,
    batch_size=1, input_length=2 * 64, kernel_size=4, stride=1, padding=(3, 0),
    conv_config=ttnn.Conv1dConfig(
        weights_dtype=ttnn.bfloat16,
        shard_layout=ttnn.TensorMemoryLayout.HEIGHT_SHARDED,
    ),
    return_output_dim=True,
)
"""
TTIR = """
RuntimeError: TT_THROW @ /src/tt-metal/tt_metal/impl/program/program.cpp:877
info:
Statically allocated circular buffers in program 15 clash with L1 buffers on core range
[(x=0,y=0) - (x=7,y=7)]. L1 buffer allocated at 351360 and static circular buffer region
ends at 465952

module @Conv attributes {tt.system_desc = #tt.system_desc<[{role = host}]>} {
    func.func @forward(%arg0: tensor<10x56x56x144xbf16> {ttcore.name = "x"}, %arg1:
      tensor<144x1x3x3xbf16>) -> (tensor<10x28x28x144xbf16>) {
    %0 = ttir.empty() : tensor<10x28x28x144xbf16>
        %1 = "ttir.conv2d"(%arg0, %arg1, %0) <{dilation = array<i32: 1, 1>, groups =
      144 : i32, padding = array<i32: 0, 1, 0, 1>, stride = array<i32: 2, 2>}>
      {channel_last = 1 : si32} : (tensor<10x56x56x144xbf16>,
      tensor<144x1x3x3xbf16>, tensor<10x28x28x144xbf16>) ->
      tensor<10x28x28x144xbf16> loc(#loc3)
    return %1 : tensor<10x28x28x144xbf16>
  }
}
"""
TTNN = """
%12 = "ttnn.conv2d"(%10, %arg3, %7, %2) <{batch_size = 2 : i32, compute_config =
      #ttnn.device_compute_kernel_config<math_fidelity = hifi4, fp32_dest_acc_en =
      true>, conv2d_config = #ttnn.conv2d_config<weights_dtype = bf16, activation =
      <op_type = silu>, deallocate_activation = false, act_block_h_override = 64,
      shard_layout = height_sharded, core_grid = #ttnn.core_range_set<>,
      enable_act_double_buffer = true, enable_kernel_stride_folding = false>,
      conv2d_slice_config = #ttnn.conv2d_slice_config<l1_full, 0>, dilation =
      array<i32: 2, 1>, dtype = #ttcore.supportedDataTypes<bf16>, groups = 64 : i32,
      in_channels = 64 : i32, input_height = 30 : i32, input_width = 28 : i32,
      kernel_size = array<i32: 3, 3>, operandSegmentSizes = array<i32: 1, 1, 1, 1>,
      out_channels = 64 : i32, padding = array<i32: 2, 2, 1, 1>, stride = array<i32:
      1, 1>}> : (tensor<1x1x1680x64xbf16, #ttnn_layout9>, tensor<1x1x96x64xbf16,
      #ttnn_layout4>, tensor<1x1x1x64xbf16, #ttnn_layout5>, !ttnn.device) ->
      tensor<1x1x1680x64xbf16, #ttnn_layout9>
"""
OLD_TTIR = """
        %3 = "ttir.conv2d"(%arg0, %arg1, %arg2, %2) <{stride_height=1: si32,
      stride_width=2: si32, dilation_height=1: si32, dilation_width=1: si32,
      groups=72: si32, padding_left=2: si32, padding_right=1: si32, padding_top=0:
      si32, padding_bottom=3: si32, operand_constraints = [#any_device, #any_device,
      #any_device, #any_device]}> : (tensor<1x32x30x72xbf16>, tensor<72x1x4x4xbf16>,
      tensor<1x1x1x72xbf16>, tensor<1x32x15x72xbf16>) -> tensor<1x32x15x72xbf16>
"""
CAPTURE = """
[
  {"counter": 0, "node_type": "capture_start", "params": {}, "connections": [1]},
  {"counter": 1, "node_type": "function_start", "connections": [2, 9],
   "params": {"inputs": "18", "name": "ttnn::conv2d"},
   "arguments": ["Tensor(shape=[1, 1, 784, 192])", "Tensor(...)", "MeshDevice(...)",
     "192", "192", "1", "28", "26", "{3, 3}", "{1, 1}", "{1, 1, 1, 1}", "{1, 1}", "192",
     "DataType::BFLOAT16", "nullopt",
     "Conv2dConfig(weights_dtype=DataType::BFLOAT8_B,shard_layout=TensorMemoryLayout::HEIGHT_SHARDED,core_grid=std::nullopt,transpose_shards=false,enable_weights_double_buffer=true)",
     "nullopt", "nullopt", "nullopt"]},
  {"counter": 2, "node_type": "function_start", "connections": [3],
   "params": {"inputs": "5", "name": "ttnn::halo"}},
  {"counter": 3, "node_type": "capture_end", "params": {}, "connections": []}
]
"""


def layer(conv: dict, shard: dict, compute: dict) -> tuple:
    return (
        jd.ConvConfig(**conv),
        jd.ShardConfig(**({"memory": "dram"} | shard)),
        jd.ComputeConfig(**({"math_fidelity": "HiFi4"} | compute)),
    )


def square(channels: int, size: int, **more) -> dict:
    return {"channels": channels, "height": size, "width": size} | more


ARTEFACTS = {
    "node id, #25160": (NODE_ID, layer(
        {"batch": 2, "channels": 96, "height": 20, "width": 18, "kernel": (5, 3),
         "stride": (2, 1), "padding": (2, 1), "bias": True,
         "weights_dtype": "bfloat8_b"},
        {"scheme": "width", "act_block_h_override": 64}, {"math_fidelity": "HiFi2"},
    )),
    "node id with flags, #16451": (FAILED, layer(
        square(144, 28, batch=8, stride=2, padding=1),
        {"scheme": "block", "act_block_h_override": 32},
        {"math_fidelity": "LoFi", "packer_l1_acc": True},
    )),
    "parametrize row, #17947": (ROW, layer(
        square(320, 40, padding=1, weights_dtype="bfloat8_b"),
        {"scheme": "height", "act_block_h_override": 64}, {"math_fidelity": "LoFi"},
    )),
    "row of shapes, #33447": (SHAPES, layer(
        {"batch": 4, "channels": 48, "height": 33, "width": 31, "kernel": (3, 5),
         "padding": (1, 2), "bias": True},
        {"scheme": "auto"}, {},
    )),
    "sweep vector": (VECTOR, layer(
        square(120, 14, kernel=(1, 5), padding=(0, 2)), {"scheme": "auto"}, {},
    )),
    "node id of a spec, #20489": (SPEC, layer(
        {"batch": 2, "channels": 672, "height": 27, "width": 25, "kernel": 5,
         "stride": 2, "padding": (0, 1), "bias": True},
        {"scheme": "auto"}, {},
    )),
    "EmitPy call, #32610": (EMITPY, layer(
        square(384, 14, batch=8, padding=1, bias=True, activation="relu6"),
        {"scheme": "block", "cores": (6, 7), "config_tensors_in_dram": True,
         "memory": "l1"},
        {"fp32_dest_acc": True},
    )),
    "script, #47799": (SCRIPT, layer(
        {"channels": 1280, "height": 1, "width": 20, "kernel": (1, 4),
         "padding": (0, 0, 3, 0)},
        {"scheme": "auto", "config_tensors_in_dram": True,
         "output_layout": "row_major"},
        {"math_fidelity": "HiFi3", "packer_l1_acc": True},
    )),
    "conv1d call": (CONV1D, layer(
        {"channels": 2560, "height": 1, "width": 128, "kernel": (1, 4),
         "padding": (0, 0, 3, 0)},
        {"scheme": "height"}, {},
    )),
    "TTIR module, tt-mlir #3643": (TTIR, layer(
        square(144, 56, batch=10, stride=2, padding=(0, 1, 0, 1)),
        {"scheme": "auto"}, {},
    )),
    "TTNN op, tt-mlir #3688": (TTNN, layer(
        {"batch": 2, "channels": 64, "height": 30, "width": 28, "dilation": (2, 1),
         "padding": (2, 2, 1, 1), "bias": True, "activation": "silu"},
        {"scheme": "height", "act_block_h_override": 64, "memory": "l1",
         "enable_act_double_buffer": True},
        {"fp32_dest_acc": True},
    )),
    "older TTIR, tt-mlir #1784": (OLD_TTIR, layer(
        {"channels": 72, "height": 32, "width": 30, "kernel": 4, "stride": (1, 2),
         "padding": (0, 3, 2, 1), "bias": True},
        {"scheme": "auto"}, {},
    )),
    "graph capture, #12624": (CAPTURE, layer(
        square(192, 28, padding=1, weights_dtype="bfloat8_b") | {"width": 26},
        {"scheme": "height", "enable_weights_double_buffer": True}, {},
    )),
}  # fmt: skip
