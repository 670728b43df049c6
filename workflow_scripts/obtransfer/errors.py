"""The one exception a user is meant to read."""


class ObtransferError(Exception):
    """Something the user can mend: the message says what was needed, what was got and what to do.

    Steps print its message alone, without a traceback.
    """
