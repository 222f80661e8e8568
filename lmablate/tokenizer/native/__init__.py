"""The parts that the compiled kernels of training and encoding share.

jit         how functions are compiled, and where their machine code is kept
intrinsics  the few machine operations that Python cannot express
arrays      an array that grows inside a kernel
wordtable   the hash table from pre-tokens to whatever is known about them; training and encoding rest on it
pairtable   the hash table from pairs of tokens to numbers
heap        a binary heap whose order the caller supplies

Read `wordtable` for the idea. Everything else here may be taken on trust.
"""
