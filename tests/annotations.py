"""The checker of annotations that tests/conftest.py hooks into the package."""

from beartype import BeartypeConf, beartype

# As everywhere in Python's typing, a whole number may stand where a float is asked for.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
