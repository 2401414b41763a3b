"""The memory of a run: counted beforehand, planned as a value, and kept to."""

from visionxl.memory import ran_out_of_memory
from visionxl.planning.choice import plan_memory
from visionxl.planning.estimating import Estimate, estimate
from visionxl.planning.obey import planned
from visionxl.planning.plan import MemoryPlan
from visionxl.planning.retry import Persistent, repeated

__all__ = [
    "Estimate",
    "MemoryPlan",
    "Persistent",
    "estimate",
    "plan_memory",
    "planned",
    "ran_out_of_memory",
    "repeated",
]
