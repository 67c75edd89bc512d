"""Plans of ttnn's programs that several tests share."""

import jaxdw as jd
from jaxdw.plan.planner import make_plan


def ttnn_plan(
    program: str = "regular", scheme: str = "block", arch="wormhole_b0", **fields
) -> jd.Plan:
    """Plans uneven channels and rows; one row of pixels for conv1d.

    BLOCK has 5 channel shards of the input and 2 of the output.
    """
    names = "grid orientation input_layout full_inner_dim act_block_w_div cores"
    names = {*names.split(), "act_block_h_override", "enable_weights_double_buffer"}
    names |= {"input_shard", "memory"}
    shard = {name: fields.pop(name) for name in names & fields.keys()}
    compute = jd.ComputeConfig(
        arithmetic=fields.pop("arithmetic", "fpu"),
        fp32_dest_acc=fields.pop("fp32_dest_acc", False),
    )
    conv = {"channels": 40, "batch": 2, "height": 7, "width": 9, "kernel": (2, 3)}
    conv |= {"padding": (1, 0, 2, 1), "bias": True}
    if program == "conv1d":
        conv |= {"height": 1, "width": 70, "kernel": (1, 3), "padding": (0, 0, 2, 1)}
        conv |= {"bias": False}
    return make_plan(
        jd.ConvConfig(**(conv | fields)),
        jd.ShardConfig(scheme="height" if program == "conv1d" else scheme, **shard),
        compute,
        arch,
        program=program,
        must_fit=False,
    )
