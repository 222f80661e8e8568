"""One run on several processes: torchrun or SLURM start them, this module finds out which one we are."""

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


@dataclass(frozen=True)
class Workers:
    """This process among those that train the run together. The global batch is split among them."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def join(cls, device: torch.device) -> "Workers":
        """Meets the others, if there are any: RANK and WORLD_SIZE (torchrun) or SLURM's own variables say so."""
        if "RANK" not in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
            import submitit.helpers

            submitit.helpers.TorchDistributedEnvironment().export()
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls(0, 1, device)
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), world, device)

    @property
    def leads(self) -> bool:
        """Rank 0 alone writes files and logs."""
        return self.rank == 0

    def share(self, module: nn.Module) -> nn.Module:
        """`module` with its gradients averaged over all workers."""
        return module if self.world == 1 else DistributedDataParallel(module)

    def check_batch(self, batch_size: int) -> None:
        """Raises UserError unless every worker gets the same number of rows."""
        if batch_size % self.world:
            raise UserError(
                f"train.batch_size={batch_size} cannot be split among {self.world} processes: "
                "it must be a multiple of their number."
            )

    def mean(self, value: Tensor) -> Tensor:
        """The mean of `value` over all workers."""
        if self.world > 1:
            dist.all_reduce(value.div_(self.world))
        return value

    def sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over all workers."""
        if self.world > 1:
            value = value.to(self.device)
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true for any worker: all of them then stop at the same step."""
        if self.world == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag))))

    def agree(self) -> None:
        """Waits for all."""
        if self.world > 1:
            dist.barrier()

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Within, rank 0 comes first, and the others find its work done."""
        if not self.leads:
            self.agree()
        yield
        if self.leads:
            self.agree()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
