"""The one exception that the suite raises for a mistake that its user can repair."""


class UserError(ValueError):
    """A user's mistake or a missing resource; one line names value, what is allowed, the key.

    Stages print it without a traceback (see `pipelines.entry`).
    """
