"""Asgard's identity at the API server, and the rights that it lacks. Calls block."""

from typing import Any

from app.data_transformation.kubernetes.application import GROUP, PLURAL
from app.data_transformation.kubernetes.errors import KubernetesCall

TIMEOUTS = (2.0, 5.0)
"""Seconds to connect, and to answer."""
NEEDED = (
    *(KubernetesCall(verb, PLURAL, GROUP) for verb in ("create", "get", "list", "watch", "delete")),
    KubernetesCall("get", "pods"),
    KubernetesCall("get", "pods/log"),
    KubernetesCall("list", "events"),
)


def identity(client: Any) -> str:
    from kubernetes.client import ApiException, AuthenticationV1Api, V1SelfSubjectReview

    try:
        review = AuthenticationV1Api(client).create_self_subject_review(
            V1SelfSubjectReview(), _request_timeout=TIMEOUTS
        )
    except ApiException as error:
        if error.status == 404:  # before Kubernetes 1.28
            return "an unknown user"
        raise
    return str(review.status.user_info.username)


def missing_rights(client: Any, namespace: str) -> list[str]:
    """Returns the missing rights, for example `create sparkapplications.sparkoperator.k8s.io`.
    This check needs no rights."""
    return [call.what for call in NEEDED if not _allowed(client, call, namespace)]


def _allowed(client: Any, call: KubernetesCall, namespace: str) -> bool:
    from kubernetes import client as models

    resource, _, subresource = call.resource.partition("/")
    attributes = models.V1ResourceAttributes(
        group=call.group,
        namespace=namespace,
        resource=resource,
        subresource=subresource or None,
        verb=call.verb,
    )
    review_request = models.V1SelfSubjectAccessReview(
        spec=models.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    )
    review = models.AuthorizationV1Api(client).create_self_subject_access_review(
        review_request, _request_timeout=TIMEOUTS
    )
    return bool(review.status.allowed)
