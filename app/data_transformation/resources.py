"""Sizes of drivers and executors, as the JVM and Kubernetes write them, checked as Spark does."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MEMORY = re.compile(r"([1-9]\d{0,8})(k|kb|ki|m|mb|mi|g|gb|gi|t|tb|ti)", re.IGNORECASE)
BYTES = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
LEAST_MIB, MOST_MIB = 450, 1024 * 1024
"""Spark refuses an executor or driver with less: 1.5 times its reserved 300 MiB."""


def memory_bytes(text: str) -> int:
    """Returns the bytes of `512m`, `2g`, `1Gi`: the JVM's units and Kubernetes' binary ones are the
    same powers of two.

    Raises:
        ValueError: It is not a valid size, or Spark does not start with it.
    """
    match = MEMORY.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            "memory must be a whole number with a unit, for example 512m, 2g, 512Mi or 1Gi"
        )
    size = int(match[1]) * BYTES[match[2][0].lower()]
    if not LEAST_MIB * 2**20 <= size <= MOST_MIB * 2**20:
        raise ValueError(f"memory must be between {LEAST_MIB}m (Spark's minimum) and 1t")
    return size


def _memory(text: str) -> str:
    memory_bytes(text)
    return text.strip()


Memory = Annotated[str, AfterValidator(_memory), Field(max_length=16, examples=["512m", "2g"])]
Cores = Annotated[int, Field(ge=1, le=64)]
Instances = Annotated[int, Field(ge=1, le=100)]


class SparkResources(BaseModel):
    model_config = ConfigDict(frozen=True)

    executor_instances: Instances = Field(1, description="Number of executors.")
    executor_cores: Cores = Field(1, description="Cores of each executor.")
    executor_memory: Memory = Field("512m", description="Memory of each executor.")
    driver_cores: Cores = Field(1, description="Cores of the driver.")
    driver_memory: Memory = Field("512m", description="Memory of the driver.")

    @property
    def executors_bytes(self) -> int:
        return self.executor_instances * memory_bytes(self.executor_memory)
