"""A byte-level BPE tokenizer: exact, streaming, and compiled from Python source by numba.

At the front:

naive          the readable reference for training and encoding
train          a file -> vocabulary and merges
tokenizer      text -> ids and back, and a file to keep the tokenizer in
text_encoder   chunks of text in one or several threads
encode         the lookup of pre-tokens, which is nearly all the work of encoding
apply_merges   merge one pre-token that was never seen before
file_format    the tokenizer's file
gpt2_format    GPT-2's pair of files, read
interchange    Hugging Face's file, written
byte_alphabet  any bytes as printable characters, for these files

Behind it, each with its own map:

split          text -> pre-tokens
learn          counted pre-tokens -> merges
native         compilation, machine operations, hash tables, a heap

Read in this order: naive, split/pattern, native/wordtable, encode, then learn. docs/tokenizer.md has a picture of how
data flows through these modules, one merge worked out, the invariants, and what may be deleted if speed does not
matter.
"""

from lmablate.tokenizer.tokenizer import Tokenizer
from lmablate.tokenizer.train import train_bpe

__all__ = ["Tokenizer", "train_bpe"]
