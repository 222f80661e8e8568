"""A byte-level BPE tokenizer: exact, streaming, and compiled from Python source by numba.

pretokenize  the pattern, and the kernel that explains it; vector: the same, 64 bytes at a time
wordtable    the layout of the hash table that both training and encoding rest on
chunks       text of any size in pieces
counting, merging, train     from a file to merges
encode, tokenizer            from text to ids and back
naive        the readable reference for all of it
interchange  other programs' files
"""

from lmablate.tokenizer.tokenizer import Tokenizer
from lmablate.tokenizer.train import train_bpe

__all__ = ["Tokenizer", "train_bpe"]
