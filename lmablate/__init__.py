"""Find out which parts of a small Transformer language model matter.

The commands are `python -m lmablate.COMMAND`. For notebooks and scripts the functions of `lmablate.api` can be called
here, as in `lmablate.run("model/pos=rope", seed=0)`; docs/python.md shows them. Importing this package imports nothing
else.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmablate.api import (
        audit_sweep,
        draw_runs,
        judge_table,
        load_facts,
        load_model,
        load_runs,
        run,
        run_sweep,
    )

__all__ = ["audit_sweep", "draw_runs", "judge_table", "load_facts", "load_model", "load_runs", "run", "run_sweep"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lmablate' has no attribute {name!r}")
    from lmablate import api  # only now, so that a program which needs none of it does not wait

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
