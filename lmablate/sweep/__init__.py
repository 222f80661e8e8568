"""Plan and audit the sweep of a command line, and search for each arm's best learning rate.

jobs       the jobs that a command line stands for, each with its config
arm_audit  one arm at step 0: its size, loss, gradients and speed
findings   what an audit found, as a file
cost       what is left to train, in FLOPs and hours
lr_search  train each arm over a grid of learning rates, extended until the best one lies inside
tuning     tune each arm's learning rate, weight decay or warm-up by a pilot, with equal effort
growing    an experiment whose arms get more seeds
deciding   train seeds until claims are decided
"""
