"""What an object store refuses is told as what the user can mend."""

from __future__ import annotations

import re
from email.message import Message
from urllib.error import HTTPError

import pytest
import tensorflow as tf
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from gcsfs.retry import HttpError
from google.api_core.exceptions import Forbidden, NotFound, PermissionDenied, Unauthenticated, Unauthorized
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from s3fs.errors import translate_boto_error

from schema.errors import ExitCode, StorageError, UsageError
from storage.errors import explain

GS, S3 = "gs://bucket/models", "s3://bucket/models"
YAML = "see `headrace config NAME --resolved` for the URLs"
API, UPLOAD = (f"https://storage.googleapis.com/{prefix}storage/v1" for prefix in ("", "upload/"))


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
        (Forbidden(f"GET {API}/b/bucket/o?a=b: me has no storage.objects.list"), YAML, "refuses.*Storage Object Admin"),
        (Forbidden("me has no access"), GS, "refuses access"),
        (Unauthorized(f"POST {API}/b/bucket/o: Anonymous caller"), YAML, "no valid credentials.*gcloud"),
        (Unauthenticated("Request for gs://bucket had invalid credentials"), YAML, "no valid credentials"),
        (NotFound(f"GET {API}/b/absent?fields=name: no"), YAML, "no such bucket"),
        (NotFound(f"POST {UPLOAD}/b/absent/o?uploadType=multipart: no"), YAML, "no such bucket"),
        (NotFound(f"GET {API}/b/absent/o/x: The specified bucket does not exist."), YAML, "no such bucket"),
        (tf.errors.PermissionDeniedError(None, None, "HTTP 403 when reading gs://bucket/x"), YAML, "refuses access"),
        (tf.errors.UnauthenticatedError(None, None, "401 when reading gs://bucket/x"), YAML, "no valid credentials"),
        (tf.errors.NotFoundError(None, None, "The specified bucket gs://b/ was not found."), YAML, "no such bucket"),
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
        FileNotFoundError("bucket/b/x"),
        Forbidden("POST https://dataflow.googleapis.com/v1b3/projects/p/locations/l/jobs: no staging in gs://bucket"),
        PermissionDenied("(f00): Could not create workflow; user does not have write access to project: p"),
        PermissionDenied("Permission 'aiplatform.pipelineJobs.create' denied on resource 'projects/p'"),
        NotFound(f"GET {API}/b/bucket/o/x: No such object: bucket/x"),
        NotFound("Job 7 was not found"),
        tf.errors.NotFoundError(None, None, "Object gs://bucket/x does not exist"),
        tf.errors.InvalidArgumentError(None, None, "gs://bucket/x is no model"),
    ],
)
def test_what_is_no_refusal_is_left_alone(error: BaseException) -> None:
    assert explain(error, GS) is None


@pytest.mark.parametrize(
    "error",
    [
        Forbidden("POST https://us-central1-aiplatform.googleapis.com/v1/x: no"),
        PermissionDenied("(f00): Could not create workflow; user does not have write access to project: p"),
        NotFound("Endpoint e is not found"),
        tf.errors.PermissionDeniedError(None, None, "no such model here"),
    ],
)
def test_what_another_service_refuses_is_left_alone(error: BaseException) -> None:
    assert explain(error, YAML) is None


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
