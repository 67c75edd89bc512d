"""Strict promotion, a fixed hypothesis profile, no stray compilation cache."""

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
    "jaxdw",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("jaxdw")


@pytest.fixture(autouse=True)
def no_program_is_kept_for_the_next_test():
    yield
    from jaxdw.launch.cache import keep_programs

    keep_programs(None)
