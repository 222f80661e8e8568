class UserError(ValueError):
    """A mistake in the user's input; its message is one clear sentence."""
