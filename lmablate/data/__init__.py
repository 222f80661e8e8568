"""From a source of text to batches of token ids.

corpora  sources of text: the standard library's own source code, or the user's files
hub      text files of a dataset on the Hugging Face hub, downloaded once and verified
prepare  text -> tokenizer -> token files, each made once
tokens   memory-mapped token files, and the batches that are cut from them

A config names a corpus by its module, such as `_target_: lmablate.data.corpora.PyStdlib`. This string stands in the
config.yaml of every run folder, and `lmablate.inference.load` reads it back to find the run's validation text again.
So a class that a config names may neither move to another module nor change its name.
"""
