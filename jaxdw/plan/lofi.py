"""What LoFi leaves of every sum: it truncates operands, so that all outputs shrink."""

from typing import Any

from jaxdw.plan.findings import Defect

# By program and weights: the output's least-squares gain over float64, at LoFi, of 64
# channels of random normals. The branch truncates twice, in ELWMUL and in GAPOOL, the
# programs of ttnn once. Source: measured with the emulator, whose bits equal the run
# recorded on silicon (depthwise, bf16: 0.9597 on it) and those of the library's
# kernels in tenstorrent/ttsim @56694c8a (regular and conv1d, bf16). Block formats add
# their own rounding of the weights.
GAINS = {
    "depthwise": {
        "bfloat16": 0.960, "float32": 0.960, "bfloat8_b": 0.963, "bfloat4_b": 0.970,
    },
    "regular": {
        "bfloat16": 0.979, "float32": 0.977, "bfloat8_b": 0.985, "bfloat4_b": 0.986,
    },
    "conv1d": {
        "bfloat16": 0.979, "bfloat8_b": 0.983, "bfloat4_b": 0.976,
    },
}  # fmt: skip


def lofi_gain(program: str) -> Defect:
    """Returns the finding of a program's sums at LoFi, with their measured gain."""

    def meets(at: Any) -> str | None:
        compute, weights = at.compute, at.conv.weights_dtype
        gain = GAINS[program].get(weights)
        if compute.arithmetic != "fpu" or compute.math_fidelity != "LoFi" or not gain:
            return None
        return (
            f"LoFi truncates operands: on random normals {gain:.3f} of a sum is left "
            f"({weights} weights), in every layer anew, which PCC cannot see; use "
            "HiFi2, or multiply the weights by 1/gain (jaxdw accuracy --compensate "
            "gain)"
        )

    times = "twice" if program == "depthwise" else "once"
    meets.__doc__ = f"""LoFi truncates operands {times}, so that every sum shrinks.

    The matrix unit multiplies a few bits of each operand and drops the rest, toward
    zero. All outputs of a layer are smaller by nearly one factor, by
    {1 - GAINS[program]["bfloat16"]:.1%} with bf16 weights; a correlation does not see
    it, and layers one after another add it up.

    Do: use HiFi2, or multiply the weights by 1/gain on the host, which
    `jaxdw accuracy --compensate gain` does and checks.
    """
    return Defect(
        code="JDW023",
        severity="accuracy",
        basis="observed",
        source="measured with jaxdw, bit for bit "
        + (
            "the run of DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md @6f883191"
            if program == "depthwise"
            else "the kernels of ttnn 0.81.1 in tenstorrent/ttsim @56694c8a"
        ),
        meets=meets,
    )
