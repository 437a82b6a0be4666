"""A stand-in for the Spark operator. It only runs what the spec says, by the real `spark-submit`,
and writes statuses in the order in which the operator (2.5.0-rc.0) was seen to write them."""

import os
import re
import signal
import subprocess
import threading
from base64 import b64decode
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.integration.servers.kubelet import NODE, ContainerLog, Kubelet
from tests.integration.servers.spark import Spark

RESOURCE = ("sparkoperator.k8s.io", "v1beta2")
PLURAL = "sparkapplications"
CONTAINER = "spark-kubernetes-driver"
APPLICATION_ID = re.compile(r"local-\d{13}")
UNSEEN_SECONDS = 1.0
"""The real one leaves an application without a status for about three."""


class StandInOperator:
    def __init__(self, client: Any, namespace: str, spark: Spark, home: Path) -> None:
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self.core, self.custom = CoreV1Api(client), CustomObjectsApi(client)
        self.namespace = namespace
        self.submits = 0
        self.written: dict[str, list[str]] = defaultdict(list)
        """The states of each application, in the order in which they were written."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._spark = spark
        self._home = home
        self._stopped = threading.Event()
        self._gone: set[str] = set()
        self._suspended: set[str] = set()
        self.kubelet = Kubelet(home)
        self.kubelet.register(self.core)

    def start(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        for name in list(self.processes):
            self._kill(name)
        self.kubelet.close()

    def _watch(self) -> None:
        from kubernetes.watch import Watch
        from urllib3.exceptions import HTTPError

        seen: set[str] = set()
        while not self._stopped.is_set():
            stream = Watch().stream(
                self.custom.list_namespaced_custom_object, *RESOURCE, self.namespace, PLURAL
            )
            try:
                for event in stream:
                    self._take(event["type"], event["object"], seen)
            except HTTPError:
                self._stopped.wait(0.5)  # the API server is being restarted, or the test is over

    def _take(self, kind: str, resource: dict[str, Any], seen: set[str]) -> None:
        name = resource["metadata"]["name"]
        match kind:
            case "ADDED" if name not in seen:
                seen.add(name)
                self._gone.discard(name)
                self._begin(resource)
            case "MODIFIED" if resource["spec"].get("suspend"):
                self._suspend(name)
            case "MODIFIED" if name in self._suspended:
                self._suspended.discard(name)
                self._write(name, "RESUMING")
                self._begin(resource)
            case "DELETED":
                self._gone.add(name)
                seen.discard(name)
                self._kill(name)
                self._delete_pod(name)

    def _begin(self, resource: dict[str, Any]) -> None:
        threading.Thread(target=self._carry_out, args=(resource,), daemon=True).start()

    def _suspend(self, name: str) -> None:
        if name in self._suspended:
            return
        self._suspended.add(name)
        self._write(name, "SUSPENDING")
        self._kill(name)
        self._delete_pod(name)
        self._write(name, "SUSPENDED")

    def _carry_out(self, resource: dict[str, Any]) -> None:
        name, spec = resource["metadata"]["name"], resource["spec"]
        self._stopped.wait(UNSEEN_SECONDS)
        told = {
            "submissionID": str(uuid4()),
            "submissionAttempts": 1,
            "executionAttempts": 1,
            "lastSubmissionAttemptTime": now(),
            "driverInfo": {"podName": f"{name}-driver"},
        }
        if refused := self._refusal(spec, name):
            self._write(name, "SUBMISSION_FAILED", error=refused, **told)
            self._write(name, "FAILED", error=refused, terminationTime=now())
            return
        if not self._write(name, "SUBMITTED", error="", **told):
            return
        code = self._run(resource, told)
        ended = {"terminationTime": now(), **self._application_id(name)}
        if name in self._gone or name in self._suspended:
            return
        if code == 0:
            self._write(name, "SUCCEEDING", **ended)
            self._write(name, "COMPLETED")
            return
        exit_code = code if code > 0 else 128 - code
        error = f"driver container failed with ExitCode: {exit_code}, Reason: Error"
        self._write(name, "FAILING", error=error, **ended)
        self._write(name, "FAILED", error=error)

    def _refusal(self, spec: dict[str, Any], name: str) -> str | None:
        """What `spark-submit` says when the API server does not take the driver's pod."""
        from kubernetes.client import ApiException

        account = spec["driver"]["serviceAccount"]
        try:
            self.core.read_namespaced_service_account(account, self.namespace)
        except ApiException:
            where = f"service account {self.namespace}/{account}"
            return (
                "failed to run spark-submit: 26/11/23 08:00:00 INFO SparkKubernetesClientFactory\n"
                'Exception in thread "main" KubernetesClientException: Failure executing: POST. '
                f'Message: pods "{name}-driver" is forbidden: error looking up {where}: '
                f'serviceaccount "{account}" not found.\n\tat okhttp3.RealCall.execute'
            )
        return None

    def _run(self, resource: dict[str, Any], told: dict[str, Any]) -> int:
        name, spec = resource["metadata"]["name"], resource["spec"]
        self._create_pod(resource, told)
        conf = {
            **{f"spark.hadoop.{key}": value for key, value in spec["hadoopConf"].items()},
            **{k: v for k, v in spec["sparkConf"].items() if "kubernetes" not in k},
            "spark.driver.memory": spec["driver"]["memory"],
        }
        command = self._spark.submit(spec["mainApplicationFile"], spec["arguments"], conf)
        log = self._home / f"{name}-{told['executionAttempts']}.log"
        self.submits += 1
        with log.open("wb") as output:
            self.kubelet.logs[f"{name}-driver"] = told_by = ContainerLog(log)
            process = subprocess.Popen(
                command,
                env=self._spark.environment(self._secrets(spec)),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes[name] = process
        self._write(name, "RUNNING", executorState={f"{name}-exec-1": "RUNNING"})
        code = process.wait()
        told_by.ended.set()
        self._end_pod(name, code if code >= 0 else 128 - code)
        return code

    def _application_id(self, name: str) -> dict[str, str]:
        """Spark chooses it; the real operator reads it from a label of the driver's pod."""
        found = APPLICATION_ID.search(self.kubelet.logs[f"{name}-driver"].file.read_text())
        return {"sparkApplicationId": found[0]} if found else {}

    def _secrets(self, spec: dict[str, Any]) -> dict[str, str]:
        found = {}
        for variable, reference in spec["driver"]["envSecretKeyRefs"].items():
            secret = self.core.read_namespaced_secret(reference["name"], self.namespace)
            found[variable] = b64decode(secret.data[reference["key"]]).decode()
        return found

    def _write(self, name: str, state: str, error: str | None = None, **status: Any) -> bool:
        """False when the application is gone."""
        from kubernetes.client import ApiException

        told = {"state": state} if error is None else {"state": state, "errorMessage": error}
        body = {"status": {"applicationState": told, **status}}
        if "driverInfo" not in status:
            body["status"]["driverInfo"] = {"podName": f"{name}-driver"}
        try:
            self.custom.patch_namespaced_custom_object_status(
                *RESOURCE, self.namespace, PLURAL, name, body
            )
        except ApiException as problem:
            _require_gone(problem)
            return False
        self.written[name].append(state)
        return True

    def _create_pod(self, resource: dict[str, Any], told: dict[str, Any]) -> None:
        metadata, spec = resource["metadata"], resource["spec"]
        name = metadata["name"]
        labels = {
            **spec["driver"].get("labels", {}),
            "spark-role": "driver",
            "spark-app-name": name,
            "sparkoperator.k8s.io/app-name": name,
            "sparkoperator.k8s.io/submission-id": told["submissionID"],
        }
        owner = {
            "apiVersion": "/".join(RESOURCE),
            "kind": "SparkApplication",
            "name": name,
            "uid": metadata["uid"],
            "controller": True,
        }
        container = {"name": CONTAINER, "image": spec["image"]}
        self.core.create_namespaced_pod(
            self.namespace,
            {
                "metadata": {
                    "name": f"{name}-driver",
                    "labels": labels,
                    "ownerReferences": [owner],
                },
                "spec": {
                    "nodeName": NODE,
                    "containers": [container],
                    "restartPolicy": "Never",
                },
            },
        )
        self._patch_pod(name, "Running", {"running": {"startedAt": now()}})

    def _end_pod(self, name: str, code: int) -> None:
        reason = "Completed" if code == 0 else "OOMKilled" if code == 137 else "Error"
        ended = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now()}}
        self._patch_pod(name, "Succeeded" if code == 0 else "Failed", ended)

    def _patch_pod(self, name: str, phase: str, state: dict[str, Any]) -> None:
        from kubernetes.client import ApiException

        container = {
            "name": CONTAINER,
            "image": "spark",
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        body = {"status": {"phase": phase, "containerStatuses": [container]}}
        try:
            self.core.patch_namespaced_pod_status(f"{name}-driver", self.namespace, body)
        except ApiException as problem:
            _require_gone(problem)

    def _delete_pod(self, name: str) -> None:
        from kubernetes.client import ApiException

        try:
            self.core.delete_namespaced_pod(
                f"{name}-driver", self.namespace, grace_period_seconds=0
            )
        except ApiException as problem:
            _require_gone(problem)

    def _kill(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _require_gone(problem: Any) -> None:
    if problem.status != 404:
        raise problem


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
