"""Find out which parts of a small Transformer language model matter."""
