"""Use a trained run: load it, score a text with it, generate text, export it.

load          a run's folder -> model, tokenizer, config
score         the loss over a whole text, and by position
decode        sampling with a key-value cache
hugging_face  weights and tokenizer in the formats of transformers
"""
