"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """A mistake in the user's input; its message is one clear sentence."""
