"""Kernels for training on a CPU, in C; the modules beside this package hold the plain forms, and choose.

library      compiles kernels.c once on a machine, and says whether the kernels can take some tensors
functions    the kernels as functions with gradients: attention, turn, swiglu, rms_norm, cross_entropy; a step of AdamW

A kernel runs if tensors are float32 on a CPU, if sizes are multiples of 16, and if there is a C compiler. Its bits do
not depend on the number of threads, and a run resumed on the same machine ends in the same ones.
"""

from lmablate.model.fast.functions import FusedAttention, FusedRMSNorm, FusedSwiGLU, FusedTurn, adamw_, cross_entropy_
from lmablate.model.fast.library import have_kernels

__all__ = ["FusedAttention", "FusedRMSNorm", "FusedSwiGLU", "FusedTurn", "adamw_", "cross_entropy_", "have_kernels"]
