"""The errors that are told in one sentence, without a traceback."""


class UserError(ValueError):
    """A mistake in the user's input; its message is one clear sentence."""


class Diverged(Exception):
    """The loss or the gradient of `step` is not finite, and no earlier one."""

    def __init__(self, step: int) -> None:
        super().__init__(f"diverged at step {step}")
        self.step = step
