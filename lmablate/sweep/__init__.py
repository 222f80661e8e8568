"""What a command line would run, what its arms differ in, what it costs, and the best learning rate of each arm.

jobs       the jobs that a command line stands for, each with its config
arm_audit  one arm at step 0: its size, loss, gradients and speed
cost       what is left to train, in FLOPs and hours
lr_search  train each arm over a grid of learning rates, widened until the best one lies inside
"""
