"""Plans that traces are asked of."""

import jaxdw as jd

FLOAT32 = jd.ComputeConfig(arithmetic="float32")
BASE = 0x1D4D80  # of the plans, aligned to both chips


def plan_of(scheme: str = "block", arch: str = "wormhole_b0", **fields) -> jd.Plan:
    shard = {
        k: fields.pop(k)
        for k in ("grid", "orientation", "weight_layout") & fields.keys()
    }
    conv = {"channels": 64, "height": 8, "width": 8, "padding": 1} | fields
    return jd.make_plan(
        jd.ConvConfig(**conv),
        jd.ShardConfig(scheme=scheme, **shard),
        FLOAT32,
        arch,
        must_fit=False,
    )
