"""Hydra launchers of lmablate: `hydra/launcher=slurm` and `hydra/launcher=local_parallel`.

Hydra imports every module in this folder whose name does not begin with an underscore, and may import it twice. The
launchers' shared code is in modules with an underscore, so that its classes exist only once.
"""
