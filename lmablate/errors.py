"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """A mistake in the user's input; its message is one clear sentence."""
