"""A JAX function by name, `module:function`, and the layers it has.

Importing a module runs it: a name is the user's own word, as for any `python -m`.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.inputs.jax_layers import JaxLayer, depthwise_layers
from jaxdw.inputs.names import is_function_name


def layers_of_function(
    name: str, inputs: Mapping[str, Sequence[int]]
) -> tuple[JaxLayer, ...]:
    """Returns the depthwise layers of a function by name.

    Args:
      name: `module:function`, of a module that can be imported or lies in the working
        directory.
      inputs: the shape of each float32 argument, by the parameter's name.

    Raises:
      ConfigError: no such module or function, arguments missing or too many, an error
        of the function itself, no layer.
    """
    import jax
    import numpy as np

    function = _found(name)
    shapes = {
        key: jax.ShapeDtypeStruct(tuple(sizes), np.dtype("float32"))
        for key, sizes in inputs.items()
    }
    try:
        bound = inspect.signature(function).bind(**shapes)
    except TypeError as error:
        takes = list(inspect.signature(function).parameters)
        lacking = [key for key in takes if key not in shapes] or ["x"]
        raise ConfigError(
            f"`{name}` takes ({', '.join(takes)}): {error}; give each a shape, "
            f"--input {lacking[0]}=1x224x224x3"
        ) from error
    try:
        return depthwise_layers(function, *bound.args, **bound.kwargs)
    except ConfigError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"`{name}` cannot be traced on these shapes: {type(error).__name__}: "
            f"{said}; give others by --input"
        ) from error


def _found(name: str) -> Callable[..., Any]:
    if not is_function_name(name):
        raise ConfigError(
            f"`jax` (={name!r}) must be module:function; try my_network:forward"
        )
    module, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"`jax` (={name!r}) must name a function that can be imported: {error}"
        ) from error
    if not callable(found):
        raise ConfigError(f"`jax` (={name!r}) must name a function, not {found!r}")
    return found
