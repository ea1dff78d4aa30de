"""What the service refuses, and what can fail in it; every one is a ServiceError."""


class ServiceError(RuntimeError):
    """The service did not answer; the message says why, and what to do."""


class NotInitializedError(ServiceError):
    """A request before `initialize()`."""


class ServiceClosedError(ServiceError):
    """A request to a service that closes, is closed, or whose event loop has ended."""


class OverloadedError(ServiceError):
    """So many requests are under way that one more is refused."""


class MemoryLimitError(ServiceError):
    """The process holds more memory than it may, so that the request is refused."""


class RequestTimeoutError(ServiceError, TimeoutError):
    """A request was accepted and took longer than it may."""


class UnreferencedError(ServiceError):
    """No reference fits the recording: its features would not mean what those of the training people mean."""


class EncoderError(ServiceError):
    """The model gave something else than finite features of the expected shape, or not the known answer."""


class SecurityError(ServiceError):
    """A file is not the one that its manifest, seal or pinned digest names; nothing was loaded."""
