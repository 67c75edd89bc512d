"""Which mistake produced this output: found by making it.

Every fault of the catalogue that applies is made on the user's own tensors, and what it
gives is compared with the file. Moves and factors are looked for in the file first, and
then made. Nothing is named that was not made and compared. Memory of earlier launches
is not known: outputs that depend on it are not explained by a fault.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from jaxdw.errors import refuse
from jaxdw.faults.causes import Cause, Diagnosis, Match
from jaxdw.faults.fit import ROUGHLY, fit
from jaxdw.faults.foretold import OFF
from jaxdw.faults.search import BY_ID, CLOSE, LEAST_EVIDENCE, VAGUE, Progress, Search
from jaxdw.faults.tried import Mask, Tried
from jaxdw.judge.comparison import Comparison, compare_outputs, product_magnitudes
from jaxdw.judge.draws import Operands
from jaxdw.judge.reference import reference
from jaxdw.launch.slices import ONE_BY_ONE
from jaxdw.plan.plan import Plan

_BOUNDS = (0, 6)  # of activations


def diagnose(
    plan: Plan,
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None,
    output: ArrayLike,
    *,
    progress: Progress = lambda what: None,
) -> Diagnosis:
    """Says where an output differs from the emulation, and what mistake gives it.

    Args:
      x: `[N, H, W, C]`; w: `[C, 1, kh, kw]`; bias: `[C]`, if and only if planned.
      output: `[N, Ho, Wo, C]` as the device gave it.
      progress: told what is being tried.

    Raises:
      ConfigError: an array of another shape than planned, a bias missing or not
        planned.
      UnsupportedError: a layer that takes several launches.
    """
    conv = plan.conv
    given = [("x", x, conv.input_shape), ("w", w, conv.weight_shape)]
    given += [("output", output, plan.output_shape)]
    given += [("bias", bias, (conv.channels,) if conv.bias else None)]
    refuse(
        [
            f"`{name}` (={shape}) must have the planned shape {planned}"
            for name, values, planned in given
            for shape in [None if values is None else np.shape(values)]
            if shape != planned
        ]
    )
    plan.refuse_slices("diagnose", ONE_BY_ONE)
    operands = Operands(
        np.asarray(x).astype(np.float32),
        np.asarray(w).astype(np.float32),
        None if bias is None else np.asarray(bias).astype(np.float32),
    )
    search = Search(plan, operands, np.asarray(output), progress)
    size = product_magnitudes(conv, *operands)
    comparison = compare_outputs(plan, search.right, search.found, size)
    if comparison.kind == "identical":
        return Diagnosis(
            comparison=comparison, causes=(), possible=(), nearest=None, tried=0
        )
    search.search(lambda search: bool(_possible(search)))
    causes = _causes(search)
    possible = () if causes else _possible(search)
    if not causes and not possible:
        causes = _other_weights(search)
    return Diagnosis(
        comparison=_as_caused(comparison, causes),
        causes=causes,
        possible=possible,
        nearest=None if causes or possible else _nearest(search),
        tried=len(search.made),
    )


def _as_caused(comparison: Comparison, causes: tuple[Cause, ...]) -> Comparison:
    """Says `rounding only` no more where the cause is no rounding."""
    names = [n for c in causes for both in c.faults for n in both.split(" + ")]
    if comparison.kind != "rounding only" or not names:
        return comparison
    if any(BY_ID[name].rounds for name in names):
        return comparison
    some = 2 * comparison.equal >= comparison.outputs
    return dataclasses.replace(comparison, kind="some places" if some else "everywhere")


def _causes(search: Search) -> tuple[Cause, ...]:
    """Returns what reproduces the file: bit for bit if anything does, else nearly."""
    ranks: tuple[Match, ...] = ("exact", "1 ULP", "near")
    found = [t for t in search.tried if t.match in ranks and _proves(search, t)]
    if not found:
        return ()
    best = min(ranks.index(t.match) for t in found)
    found = _simplest([t for t in found if ranks.index(t.match) == best])
    fewest = min(t.num_unknown for t in found)
    least = min(t.residue for t in found)
    found = [t for t in found if t.num_unknown <= fewest and t.residue <= 2 * least]
    found.sort(key=lambda t: (t.residue, t.detail.count(","), len(t.detail)))
    return (_cause(search, found),)


def _proves(search: Search, tried: Tried) -> bool:
    """Whether a mistake explains what differs, by outputs that it determines.

    One that is not exact has to come much nearer than the emulation itself.
    """
    if not tried.fault or tried.unknown is None:
        return False
    if tried.match != "exact" and tried.residue > search.intact.residue / 2:
        return False
    wrong = np.count_nonzero(search.wrong)
    left = np.count_nonzero(search.wrong & tried.unknown)
    right = np.count_nonzero(tried.unknown & ~search.wrong & ~_held(search))
    few = (wrong - left) / 10
    if right > max(left, few) and _stages(tried) != {"file"}:
        return False  # memory of an earlier launch does not hold the right outputs
    return bool(wrong - left >= max(min(LEAST_EVIDENCE, wrong), left))


def _stages(tried: Tried) -> set[str]:
    return {BY_ID[name].stage for name in tried.fault.split(" + ")}


def _held(search: Search) -> Mask:
    """Returns the right outputs that an activation may hold at its bounds."""
    return ~search.wrong & np.isin(search.right, _BOUNDS)


def _simplest(found: list[Tried]) -> list[Tried]:
    """Leaves out pairs and other orders where one mistake says the same."""
    found = [t for t in found if "+" not in t.fault] or found
    return [t for t in found if t.fault not in VAGUE] or found


def _possible(search: Search) -> tuple[Cause, ...]:
    """Returns mistakes that give what is found where they can tell, which is little.

    At least half of the outputs that they leave unknown differ, those apart that an
    activation holds at its bounds.
    """
    size = search.wrong.size
    held = _held(search)
    found = []
    for tried in search.tried:
        if tried.fault and tried.match == "exact" and tried.unknown is not None:
            free = np.count_nonzero(tried.unknown & ~held)
            differing = np.count_nonzero(tried.unknown & search.wrong)
            enough = free <= 2 * differing and tried.num_unknown < size
            if tried.num_unknown and enough and _may_be(search, tried):
                found.append(tried)
    if not found:
        return ()
    fewest = min(t.num_unknown for t in found)
    found = _simplest([t for t in found if t.num_unknown == fewest])
    return (_cause(search, found, "possible"),)


def _may_be(search: Search, tried: Tried) -> bool:
    """Whether what a mistake leaves unknown is a convolution, if it is of the weights.

    Of sticks that nobody knows nothing can be said.
    """
    if not _stages(tried) & {"prepare", "read", "multicast"}:
        return True
    assert tried.unknown is not None
    where = tried.unknown.reshape(-1, search.plan.conv.channels)
    unknown = fit(search.sample, where[search.sample.sticks])
    return bool(unknown.explains(search.right_fit)[~unknown.unknown].all())


def _other_weights(search: Search) -> tuple[Cause, ...]:
    """Names other weights if a fit explains every channel and they are not own."""
    reading = search.reading
    if reading is None or reading.own_weights:
        return ()
    if not reading.own_bias or reading.scaled_by_channel:
        return ()
    if reading.order is not None or reading.factor is not None:
        return ()
    complete = (t for t in search.tried if t.fault and not t.num_unknown)
    if any(tried.residue <= CLOSE for tried in complete):
        return ()  # other arithmetic may make it of that mistake
    if not _is_convolution(search):
        return ()
    residue = float(np.nanmax(search.fit.residue))
    fitted = dataclasses.replace(
        search.intact, fault="stale-weights", residue=residue, differing=0
    )
    return (_cause(search, [fitted], "weights"),)


def _is_convolution(search: Search) -> bool:
    """Whether fitted weights give every output of every channel that can be fitted.

    The fit itself looks at some outputs only.
    """
    conv, (x, _, _) = search.plan.conv, search.operands
    w = np.nan_to_num(search.fit.w).astype(np.float32).reshape(conv.weight_shape)
    bias = search.fit.bias.astype(np.float32)
    fitted = dataclasses.replace(conv, bias=True, activation=None)
    made = ROUGHLY[conv.activation](reference(fitted, x, w, bias))
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(made - search.found)
        near = off <= OFF * product_magnitudes(conv, x, w, bias)
    return bool(near[..., ~search.fit.unknown].all())


def _nearest(search: Search) -> Cause | None:
    """Returns what is much nearer than the emulation, if anything is."""
    ranked = sorted(
        (t for t in search.tried if t.fault and not t.num_unknown),
        key=lambda t: (t.distance, t.differing),
    )
    if not ranked or ranked[0].distance >= search.intact.distance / 2:
        return None
    return _cause(search, ranked[:1], "none")


def _cause(search: Search, found: list[Tried], match: Match | None = None) -> Cause:
    """Joins explanations that cannot be told apart."""
    details: dict[str, str] = {}
    for tried in found:
        details.setdefault(tried.fault, tried.detail)
    return Cause(
        faults=tuple(details),
        texts=tuple(
            " + ".join(BY_ID[name].text for name in both.split(" + "))
            for both in details
        ),
        details=tuple(details.values()),
        match=match or found[0].match,
        outputs=search.found.size,
        unknown=found[0].num_unknown,
        differing=found[0].differing,
        residue=found[0].residue,
    )
