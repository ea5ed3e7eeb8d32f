"""What klens raises: one class for each status of klens.h, with its one line as the text."""


class Error(Exception):
    """A call that failed."""


class BadArgument(Error, ValueError):
    """The call itself is wrong."""


class IoError(Error, OSError):
    """A file cannot be read or written."""


class BadFile(Error):
    """A file is damaged or not what it claims to be."""


class Unsupported(Error):
    """A sound file, but an architecture, format or device that this build lacks."""


class NoMemory(Error, MemoryError):
    """There is not enough memory, or no thread can be started."""


class Interrupted(Error):
    """A progress function asked to stop."""


class InternalError(Error):
    """A bug in klens."""
