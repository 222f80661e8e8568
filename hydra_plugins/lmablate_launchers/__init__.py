"""Hydra launchers of lmablate: `hydra/launcher=slurm` and `hydra/launcher=local_parallel`.

Hydra imports every module here whose name has no leading underscore, and may import it twice: what the
launchers share lives in underscored modules, so that its classes exist once.
"""
