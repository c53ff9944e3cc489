"""What an object store's error means to the user.

gcsfs raises HttpError, OSError("Forbidden: …") for 403 and FileNotFoundError for 404; s3fs raises Python's own errors
with botocore's ClientError as their cause (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), or
botocore's errors as they are. Beam's clients raise google.api_core's errors, and TensorFlow tf.errors, for other
services too: these are explained only if they are about storage. None of all these is imported here: s3fs and botocore
need not be installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from schema.errors import HeadraceError, StorageError

_NO_CREDENTIALS = {
    "DefaultCredentialsError",
    "RefreshError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "ProfileNotFound",
}
"""Classes of google.auth and botocore."""

_BAD_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "RequestExpired",
    "TokenRefreshRequired",
}
"""Codes of S3, all with status 400 or 403."""

_UNREACHABLE = {"ClientConnectorError", "EndpointConnectionError", "ConnectTimeoutError", "ConnectionTimeoutError"}
"""Classes of aiohttp and botocore."""

_BUCKET_OF_GCS = re.compile(r"(?:^|/v1/)b/[^/]+(?:/o)?$")
"""A bucket, or all of its objects: the path in gcsfs's error when these are not there."""

_STATUS_OF_CLASS = {
    "Forbidden": 403,
    "Unauthorized": 401,
    "NotFound": 404,
    "PermissionDeniedError": 403,
    "UnauthenticatedError": 401,
    "NotFoundError": 404,
}
"""Classes of google.api_core.exceptions, of which gRPC's are subclasses, and of tf.errors."""

_OF_GRPC = {"PermissionDenied", "Unauthenticated"}
"""Those that no client of Cloud Storage raises here: it speaks HTTP."""

_OF_STORAGE = re.compile(r"/storage/v1/|\bstorage\.(?:googleapis|buckets|objects)\b")
_OF_ANOTHER_SERVICE = re.compile(r"\bgoogleapis\.com\b|permission '?(?!storage\.)\w+\.\w+\.", re.IGNORECASE)
_URL = re.compile(r"\b(?:gs|s3)://")

_NO_BUCKET = re.compile(r"specified bucket .*(?:does not exist|not found)|/storage/v1/b/[^/?:]+(?:/o)?(?:[?:]|$)", re.I)
"""How Cloud Storage and TensorFlow say so, or the address that is not there: a bucket's, or that of all its objects."""


def explain(error: BaseException, where: str) -> HeadraceError | None:
    """The error told as what an object store refused, if that is what it is.

    Args:
        error: As it was raised; what it was raised from is looked at as well.
        where: The URL, or a text that holds it.
    """
    if isinstance(error, HeadraceError):
        return None
    return next((found for each in _chain(error) if (found := _explain(each, where)) is not None), None)


def _explain(error: BaseException, where: str) -> StorageError | None:
    is_s3 = "s3://" in where or type(error).__module__.startswith("botocore") or bool(_response(error))
    status, code = _status(error, where), _code(error)
    if isinstance(error, ImportError):
        return _missing_package(error, where)
    if type(error).__name__ in _NO_CREDENTIALS or code in _BAD_CREDENTIALS or status == 401:
        return StorageError(
            "There are no valid credentials for the object store",
            where=where,
            expected=_CREDENTIALS[is_s3],
            received=_told(error),
            mend=_LOG_IN[is_s3],
        )
    if status == 403 or _is_forbidden(error):
        return StorageError(
            "The object store refuses access",
            where=where,
            expected="permission to list, read, write and delete objects there",
            received=_told(error),
            mend=_GRANT[is_s3],
        )
    if code == "NoSuchBucket" or _is_of_no_bucket(error, status):
        return StorageError(
            "There is no such bucket",
            where=where,
            expected="a bucket that exists",
            received=_told(error),
            mend="Create it, or correct its name.",
        )
    if not _UNREACHABLE.isdisjoint(kind.__name__ for kind in type(error).__mro__):
        return StorageError(
            "The object store cannot be reached",
            where=where,
            received=_told(error),
            mend="Look at the network, and run the same command again.",
        )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from or in."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context


def _missing_package(error: ImportError, where: str) -> StorageError | None:
    package = next((name for name in ("s3fs", "botocore", "gcsfs") if name in str(error)), None)
    if package is None:
        return None
    extra = "" if package == "gcsfs" else "[s3]"
    return StorageError(
        f"The package {package} is not installed",
        where=where,
        expected=f"what headrace{extra} installs",
        received=_told(error),
        mend=f'Run pip install "headrace{extra}".',
    )


def _is_of_no_bucket(error: BaseException, status: int | None) -> bool:
    if type(error) is FileNotFoundError:
        return _BUCKET_OF_GCS.search(_told(error)) is not None
    return status == 404 and _is_of_other_clients(error) and _NO_BUCKET.search(str(error)) is not None


def _is_of_other_clients(error: BaseException) -> bool:
    """Whether it is of a client, Google's or TensorFlow, that speaks to other services too."""
    return type(error).__module__.startswith(("google.api_core", "tensorflow"))


def _status(error: BaseException, where: str) -> int | None:
    """The HTTP status: of gcsfs's HttpError, of botocore's ClientError, or of another client's error about storage."""
    if _is_of_other_clients(error):
        found = (_STATUS_OF_CLASS.get(kind.__name__) for kind in type(error).__mro__)
        return next(filter(None, found), None) if _is_about_storage(error, where) else None
    if type(error).__module__.startswith("gcsfs"):
        status = getattr(error, "code", None)
    else:
        status = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return int(str(status)) if str(status).isdecimal() else None


def _is_about_storage(error: BaseException, where: str) -> bool:
    """Whether its text is; or, if that names no service, whether it was raised where a store is meant."""
    text = str(error)
    if _OF_STORAGE.search(text):
        return True
    if _OF_ANOTHER_SERVICE.search(text):
        return False
    return bool(_URL.search(text) or (_URL.search(where) and type(error).__name__ not in _OF_GRPC))


def _code(error: BaseException) -> str | None:
    return _response(error).get("Error", {}).get("Code")


def _response(error: BaseException) -> dict[str, dict[str, str]]:
    """What S3 answered: of botocore's ClientError, or of the one behind an error of s3fs."""
    answers = (getattr(each, "response", None) for each in (error, error.__cause__))
    return next((answer for answer in answers if isinstance(answer, dict)), {})


def _is_forbidden(error: BaseException) -> bool:
    """Whether it is a store's refusal; this machine's have a number."""
    is_refusal = isinstance(error, PermissionError) or (isinstance(error, OSError) and "Forbidden: " in str(error))
    return is_refusal and getattr(error, "errno", None) is None


def _told(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


_CREDENTIALS = ("Google's application default credentials", "an AWS access key, profile or role")
_LOG_IN = (
    "Run gcloud auth application-default login, or name a service account's key file in "
    "GOOGLE_APPLICATION_CREDENTIALS.",
    "Run aws configure (or aws sso login), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
)
_GRANT = (
    "Grant the account the role Storage Object Admin on the bucket.",
    "Allow s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject on the bucket.",
)
