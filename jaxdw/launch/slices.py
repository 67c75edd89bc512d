"""A layer that runs in several launches: each on its part of the image, and joined."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Shaped

from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.plan.plan import Plan

Image = Shaped[HostOrDevice, "n h w c"]


ONE_BY_ONE = "use `emulate`, or run each of `plan.slice_plans` on its part of `x`"


def run_slices(
    plan: Plan,
    x: Image,
    run_launch: Callable[[Plan, Image], Float32[HostOrDevice, "n ho wo c"]],
) -> Float32[HostOrDevice, "n ho wo c"]:
    """Returns the whole output of a layer, launch by launch.

    Args:
      run_launch: gives the output of one of `plan.slice_plans` on its part of `x`.
    """
    if len(plan.slice_plans) == 1:
        return run_launch(plan.slice_plans[0], x)
    axis = 1 if plan.slice_parts[0].axis == "height" else 2
    outputs = []
    for part, launch in zip(plan.slice_parts, plan.slice_plans, strict=True):
        taken = slice(part.first_input, part.first_input + part.num_inputs)
        image = x[:, taken] if axis == 1 else x[:, :, taken]
        output = run_launch(launch, image)[:, :, : plan.output_shape[2]]
        outputs.append(output[(slice(None),) * axis + (slice(part.num_outputs),)])
    xp = np if isinstance(outputs[0], np.ndarray) else jnp
    return xp.concatenate(outputs, axis=axis)
