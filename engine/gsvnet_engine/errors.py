"""Everything that can go wrong, by who can mend it. Each message says what, where, and how to mend it.

    GsvnetError
    ├── UsageError    2  the call itself: options that exclude each other, a value out of range
    ├── InputError    3  a video, a data set, somebody's ONNX file
    ├── BundleError   4  a bundle that is missing, damaged or fails verification
    ├── OutputError   5  a file that cannot be written: it exists, no permission, a full disk
    └── BackendError  6  an inference runtime, an extra or a system library that is missing or failed

The numbers are the exit codes of the command line.
"""

EXIT_OK = 0
EXIT_PARTIAL = 7  # done, but part of the input was unreadable
EXIT_INTERRUPTED = 130


class GsvnetError(Exception):
    """Base of every error that this package raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(GsvnetError):
    """The call itself is wrong."""

    exit_code = 2


class InputError(GsvnetError):
    """Something given to be read cannot be: a video, a data set, a checkpoint, a foreign ONNX file."""

    exit_code = 3


class BundleError(GsvnetError):
    """A bundle is missing, damaged, of another version, or fails verification."""

    exit_code = 4


class OutputError(GsvnetError):
    """Something cannot be written."""

    exit_code = 5


class BackendError(GsvnetError):
    """An inference runtime, an extra or a system library is missing or failed."""

    exit_code = 6
