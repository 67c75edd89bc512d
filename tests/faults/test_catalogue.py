"""The catalogue: complete, and applied where the plan has findings."""

import pytest
from diagnosed_layers import LAYERS, layer
from fault_examples import EXAMPLES, FAULTS, example

from jaxdw.faults.catalogue import CATALOGUE


def test_the_catalogue_is_complete():
    assert len(FAULTS) == len(CATALOGUE) >= 120
    codes = {fault.code for fault in CATALOGUE} - {None}
    assert codes == {"JDW003", "JDW004", "JDW005", "JDW006", "JDW013"}
    plans = [*map(example, EXAMPLES), *map(layer, LAYERS)]
    covered = {f for f in FAULTS if any(FAULTS[f].applies(p) for p in plans)}
    assert covered == set(FAULTS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_faults_that_are_findings_apply_where_the_plan_finds_them(name):
    plan = example(name)
    found = {finding.code for finding in plan.findings}
    ours = {f.code for f in CATALOGUE if f.code and f.applies(plan)}
    assert ours == found & {fault.code for fault in CATALOGUE}
