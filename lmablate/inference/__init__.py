"""Use a trained run: load it, score a text with it, generate text, export it.

load          read a run's folder back: model, tokenizer, config
score         the loss over a whole text, and by position in the context
decode        temperature, top-k and top-p sampling with a key-value cache
hugging_face  weights and tokenizer in the formats of transformers
"""
