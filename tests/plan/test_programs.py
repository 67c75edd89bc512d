"""Plans of ttnn's programs by the names that users have."""

import numpy as np
import pytest
import ttnn_rows

import jaxdw as jd

ROWS = ttnn_rows.rows()
NUMBERS = (
    "cores_nhw", "cores_c_in", "cores_c_out", "out_h_ntile", "out_w_ntile",
    "act_block_h", "act_block_w", "subblock_h", "subblock_w",
)  # fmt: skip
COLUMNS = (
    "error", "chosen", *NUMBERS, "in_grid", "in_shard", "halo_shard", "out_grid",
    "out_shard", "weight_padded", "slices", "conv_cb", "conv_cb_sum", "cb_base",
    "cb_end", "lowest_l1",
)  # fmt: skip


def plan_of(row: dict[str, str], program: str = "ttnn", **options) -> jd.Plan:
    return jd.make_plan(
        ttnn_rows.conv_of(row),
        ttnn_rows.shard_of(row),
        ttnn_rows.compute_of(row),
        row["arch"],
        program=program,
        **({"must_fit": False} | options),
    )


def columns_of(plan: jd.Plan, row: dict[str, str]) -> dict[str, str]:
    """Returns what public attributes say of a plan, in the words of the table."""
    rows, columns = plan.weight_matrix_shape
    numbers = (
        plan.num_nhw_shards,
        plan.num_channel_shards,
        plan.num_output_shards,
        plan.output_rows // 32,
        plan.output_shard.channels // 32,
        *plan.act_block,
        *plan.subblock,
    )
    return dict(zip(NUMBERS, map(str, numbers), strict=True)) | {
        "error": (plan.l1.message or "")[:300],
        "chosen": plan.scheme.upper(),
        "in_grid": ttnn_rows._ranges(plan.core_grid),
        "in_shard": ttnn_rows._shape(plan.input_shard),
        "halo_shard": ttnn_rows._shape(plan.halo_shard),
        "out_grid": ttnn_rows._ranges(plan.output_grid),
        "out_shard": ttnn_rows._shape(plan.output_shard),
        "weight_padded": f"1x1x{rows}x{columns}",
        "slices": str(plan.slices) if row["path"] == "dram" else "",
        "conv_cb": " ".join(
            "G" * buffer.on_buffer + str(buffer.num_bytes) for buffer in plan.l1.buffers
        ),
        "conv_cb_sum": str(plan.l1.static_bytes),
        "cb_base": str(plan.l1.base),
        "cb_end": str(plan.l1.region_end),
        "lowest_l1": str(plan.l1.lowest_buffer),
    }


def is_launched(row: dict[str, str]) -> bool:
    """Whether the library gave the layer to one of the two programs."""
    return "Matmul" not in row["slice_type"] or "Conv2d" in row["slice_type"]


def is_stored(row: dict[str, str], column: str) -> bool:
    """Whether the table has that column of a row; of a refused launch some are not."""
    alignment = column == "weight_padded" and not row[column].startswith("1x1x")
    return column == "error" or (bool(row[column]) and not alignment)


def test_public_attributes_say_what_the_library_did():
    wrong, compared = [], 0
    for number, row in enumerate(ROWS):
        plan = plan_of(row)
        if not is_launched(row):
            continue
        found = columns_of(plan, row)
        stored = [column for column in COLUMNS if is_stored(row, column)]
        compared += len(stored)
        wrong += [
            f"row {number}, {column}: {found[column]!r} is not {row[column]!r}"
            for column in stored
            if found[column] != row[column]
        ]
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:30])
    assert compared > 15_000


def test_plans_do_not_fit_where_the_library_refuses():
    refused = [row for row in ROWS if row["error"] and is_launched(row)]
    for row in [*ROWS[::20], *refused[::30]]:
        plan = plan_of(row)
        assert plan.l1.fits == (not row["error"])
        if row in refused[::30]:
            with pytest.raises(jd.L1OutOfMemory) as refusal:
                plan_of(row, must_fit=True)
            assert row["error"][:60] in str(refusal.value)


def test_ttnn_is_one_of_its_two_programs():
    kinds = set()
    for row in ROWS[::17]:
        plan = plan_of(row)
        flat = row["H"] == row["kh"] == "1" and row["bias"] == "0"
        assert plan.program == ("conv1d" if flat else "regular")
        same = plan_of(row, plan.program)
        assert (same, same.l1, same.cycles) == (plan, plan.l1, plan.cycles)
        assert plan.upstream_program == plan.program
        kinds.add(plan.program)
    assert kinds == {"regular", "conv1d"}


def test_auto_is_ttnn_s_own_choice():
    chosen = set()
    for row in [r for r in ROWS if r["layout"] == "auto" and r["chosen"]][::6]:
        plan = plan_of(row)
        assert plan.shard.scheme == plan.scheme == row["chosen"].lower()
        chosen.add(plan.scheme)
    assert chosen == {"height", "block", "width"}


def test_another_program_than_the_library_s_is_said():
    conv = jd.ConvConfig(channels=64, height=1, width=40, kernel=(1, 4))
    plan = jd.make_plan(conv, program="regular")
    assert (plan.program, plan.upstream_program) == ("regular", "conv1d")
    assert plan.weight_matrix_shape == (4 * 64, 64)  # of conv1d's a row for each of 32
    assert len(plan.findings) == 1
    assert "conv1d" in plan.findings[0].text


@pytest.mark.parametrize("name", ["", "Regulr", "tt", "auto"])
def test_an_unknown_program_is_refused_with_those_there_are(name):
    conv = jd.ConvConfig(channels=8, height=4, width=4)
    names = "depthwise, regular, conv1d, ttnn"
    for plan in (jd.make_plan, jd.rank_plans):
        with pytest.raises(
            jd.ConfigError, match=rf"\(={name!r}\) must be .* {names}; try "
        ):
            plan(conv, program=name)
    bad = jd.ConvConfig(channels=0, height=4, width=4)
    with pytest.raises(jd.ConfigError, match=r"`channels` \(=0\)"):
        jd.make_plan(bad, program="ttnn")


def test_conv1d_is_refused_where_it_cannot_be():
    conv = jd.ConvConfig(channels=8, height=4, width=4)
    with pytest.raises(jd.ConfigError, match=r"one row and no bias \(kernel \(3, 3\)"):
        jd.make_plan(conv, program="conv1d")


def test_buffers_have_roles_and_lie_below_the_tensors():
    conv = jd.ConvConfig(channels=64, height=16, width=16, padding=1, bias=True)
    plan = jd.make_plan(conv, jd.ShardConfig(), program="regular")
    roles = {buffer.role for buffer in plan.l1.buffers}
    assert {"weights", "bias", "activations", "tilized", "output"} <= roles
    assert len({buffer.name for buffer in plan.l1.buffers}) == len(plan.l1.buffers)
    static = [b.num_bytes for b in plan.l1.buffers if not b.on_buffer]
    assert plan.l1.region_end == plan.l1.base + sum(static) < plan.l1.lowest_buffer


def test_launches_of_a_sliced_layer_add_up():
    row = next(row for row in ROWS if row["slices"] not in ("", "0", "1"))
    plan = plan_of(row)
    launches = plan.slice_plans
    assert len(launches) == plan.slices == int(row["slices"])
    assert plan.window.num_outputs == launches[0].window.num_outputs
    assert plan.window.num_outputs < np.prod(plan.output_shape[:3])
    assert plan.cycles.total >= max(launch.cycles.total for launch in launches)
    assert plan.cycles.matrix_unit == sum(p.cycles.matrix_unit for p in launches)
    assert plan.own_facts()["slices"] == plan.slices
    assert all(launch.slice_parts == () for launch in launches)
    assert all(launch.slice_plans == (launch,) for launch in launches)
    outputs = sum(part.num_outputs for part in plan.slice_parts)
    assert outputs in plan.output_shape
    assert np.prod(plan.output_shape) == np.prod(plan.outcome.output_shape)
