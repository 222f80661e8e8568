"""Training of one run by several processes, which torchrun or SLURM starts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lmablate.errors import UserError
from lmablate.machine import environment_number


@dataclass(frozen=True)
class Workers:
    """The process group of a run, as this process sees it. Its processes share the global batch.

    Leaving the `with` block destroys the group.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
        device: device of this process.
    """

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def init(cls, device: torch.device) -> "Workers":
        """Join the process group, if the environment says that there is one.

        Args:
            device: device to train on. On GPUs, each process takes the one of its local rank instead.

        Returns:
            The group of RANK and WORLD_SIZE, which torchrun sets, or that of srun's tasks; else this process alone. The
            tasks of an allocation do not count, because a plain `python` in it is one process.

        Raises:
            UserError: if a variable holds no number, or if they do not fit each other.
        """
        in_step = "RANK" not in os.environ and "SLURM_STEP_ID" in os.environ
        if in_step and environment_number("SLURM_STEP_NUM_TASKS", 1, least=1) > 1:
            import submitit.helpers

            submitit.helpers.TorchDistributedEnvironment().export()
        world_size = environment_number("WORLD_SIZE", 1, least=1)
        if world_size == 1:
            return cls(0, 1, device)
        if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
            raise UserError(
                f"The environment has WORLD_SIZE={world_size} but no {', '.join(missing)}: start with torchrun or "
                "srun, or unset WORLD_SIZE to train in one process."
            )
        environment_number("RANK", 0, least=0, most=world_size - 1)
        environment_number("MASTER_PORT", 0, least=1, most=65_535)
        if device.type == "cuda":
            local_rank = environment_number("LOCAL_RANK", 0, least=0, most=torch.cuda.device_count() - 1)
            device = torch.device("cuda", local_rank)
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), world_size, device)

    @property
    def is_main(self) -> bool:
        """True on rank 0, the only one that writes files and logs."""
        return self.rank == 0

    def wrap_ddp(self, module: nn.Module) -> nn.Module:
        """Return `module` wrapped in DistributedDataParallel, or `module` itself if there is one process."""
        return module if self.world_size == 1 else DistributedDataParallel(module)

    def check_batch(self, batch_size: int) -> None:
        """Check that `batch_size` rows can be split evenly among the processes.

        Raises:
            UserError: if `batch_size` is not a multiple of the number of processes.
        """
        if batch_size % self.world_size:
            raise UserError(
                f"train.batch_size={batch_size} cannot be split among {self.world_size} processes: "
                "it must be a multiple of their number."
            )

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of `value` over all processes, on every one of them."""
        return value if self.world_size == 1 else self.sum(value / self.world_size)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of `value` over all processes, on every one of them."""
        if self.world_size == 1:
            return value
        total = value.to(self.device, copy=True)
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any process; every one of them gets the same answer."""
        return flag if self.world_size == 1 else bool(self.sum(torch.tensor(float(flag))))

    def barrier(self) -> None:
        """Wait until every process has arrived here."""
        if self.world_size > 1:
            dist.barrier()

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run the block on rank 0 first, then on the other ranks."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()
