"""All faults of a soak, in the order in which a schedule draws from them."""

# isort: off
from tests.soak import program_faults
from tests.soak import operator_faults
from tests.soak import server_faults

# isort: on
from tests.soak.scene import FAULTS

__all__ = ["FAULTS", "operator_faults", "program_faults", "server_faults"]
