"""What an object store refuses is told as what the user can mend."""

from __future__ import annotations

import re
from email.message import Message
from urllib.error import HTTPError

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from gcsfs.retry import HttpError
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from s3fs.errors import translate_boto_error

from schema.errors import ExitCode, StorageError, UsageError
from storage.errors import explain

GS, S3 = "gs://bucket/models", "s3://bucket/models"


def client_error(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )


@pytest.mark.parametrize(
    ("error", "where", "told"),
    [
        (DefaultCredentialsError("no file"), GS, "no valid credentials.*gcloud auth application-default login"),
        (RefreshError("revoked"), GS, "no valid credentials.*revoked.*GOOGLE_APPLICATION_CREDENTIALS"),
        (HttpError({"code": 401, "message": "Anonymous caller"}), GS, "no valid credentials.*Anonymous caller"),
        (HttpError({"code": "401", "message": "x"}), f"push.path: {GS}", "Where: push.path: gs://bucket/models"),
        (HttpError({"code": 403, "message": "x"}), GS, "refuses access.*Storage Object Admin"),
        (OSError("Forbidden: http://x/b/o\nno permission"), GS, "refuses access.*no permission"),
        (NoCredentialsError(), S3, "no valid credentials.*AWS_ACCESS_KEY_ID"),
        (client_error("InvalidAccessKeyId", 403), S3, "no valid credentials.*aws configure"),
        (client_error("ExpiredToken", 400), S3, "no valid credentials"),
        (client_error("AccessDenied", 403), S3, "refuses access.*s3:PutObject"),
        (translate_boto_error(client_error("AccessDenied", 403)), S3, "refuses access"),
        (translate_boto_error(client_error("InvalidAccessKeyId", 403)), S3, "no valid credentials"),
        (translate_boto_error(client_error("403", 403)), S3, "refuses access"),
        (PermissionError("Access Denied"), S3, "refuses access"),
        (translate_boto_error(client_error("AccessDenied", 403)), "the YAML", "refuses access.*s3:PutObject"),
        (translate_boto_error(client_error("NoSuchBucket", 404)), S3, "no such bucket.*Create it"),
        (FileNotFoundError("b/bucket/o"), GS, "no such bucket"),
        (FileNotFoundError("https://storage.googleapis.com/upload/storage/v1/b/bucket/o"), GS, "no such bucket"),
        (ImportError("Install s3fs to access S3"), S3, r'package s3fs is not.*pip install "headrace\[s3\]"'),
        (ImportError("Please install gcsfs to access Google Storage"), GS, 'package gcsfs.*pip install "headrace"'),
        (EndpointConnectionError(endpoint_url="http://x"), S3, "cannot be reached.*http://x"),
    ],
)
def test_it_is_told(error: BaseException, where: str, told: str) -> None:
    found = explain(error, where)
    assert isinstance(found, StorageError)
    assert found.exit_code == ExitCode.STORAGE
    assert re.search(told, str(found)), str(found)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("https://storage.googleapis.com/download/storage/v1/b/bucket/o/absent?alt=media"),
        FileNotFoundError(2, "No such file", "/tmp/b/x/o"),
        translate_boto_error(client_error("NoSuchKey", 404)),
        PermissionError(13, "Permission denied", "/var/models"),
        OSError(28, "No space left on device"),
        ImportError("No module named 'tensorflow'"),
        HttpError({"code": 500, "message": "later"}),
        UsageError("mine"),
        ValueError("anything"),
        PermissionError(1, "Operation not permitted"),
        HTTPError("http://hooks/x", 403, "Forbidden", Message(), None),
        KeyError("code"),
    ],
)
def test_what_is_no_refusal_is_left_alone(error: BaseException) -> None:
    assert explain(error, GS) is None


def test_what_it_was_raised_from_counts() -> None:
    error = RuntimeError("the push failed")
    error.__cause__ = NoCredentialsError()
    assert "no valid credentials" in str(explain(error, S3))


def test_what_it_was_raised_in_counts_unless_it_was_put_aside() -> None:
    error = RuntimeError("the push failed")
    error.__context__ = NoCredentialsError()
    assert "no valid credentials" in str(explain(error, S3))
    error.__suppress_context__ = True
    assert explain(error, S3) is None


def test_an_error_of_ours_is_not_explained_by_what_it_came_from() -> None:
    error = UsageError("mine")
    error.__context__ = NoCredentialsError()
    assert explain(error, S3) is None
