"""The catalogue of faults: mistakes as changes of one stage of the data path.

`faults` makes every one of them; `diagnose` looks for them in an output.
"""

from jaxdw.faults.fault import Fault
from jaxdw.faults.on_compute import COMPUTE_FAULTS
from jaxdw.faults.on_device import DEVICE_FAULTS
from jaxdw.faults.on_file import FILE_FAULTS
from jaxdw.faults.on_host import HOST_FAULTS

CATALOGUE: tuple[Fault, ...] = (
    *HOST_FAULTS,
    *DEVICE_FAULTS,
    *COMPUTE_FAULTS,
    *FILE_FAULTS,
)
