"""Chalice's AWS client for an emulator that lacks PutRestApi and ignores ImportRestApi's body.

The Swagger document that Chalice makes is carried out with the calls the emulator has, so that a
deployed stage answers there as it does on AWS. Nothing here runs against AWS.
"""

import base64
import hashlib
import time
from typing import Any

from botocore.session import Session
from chalice.awsclient import TypedAWSClient

from infra import gateway
from infra.project import InfraError, Json

_INTEGRATION = "x-amazon-apigateway-integration"
_AUTHORIZER = "x-amazon-apigateway-authorizer"
_POLL_SECONDS = 0.1
_VERBS = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})


class EmulatorClient(TypedAWSClient):
    """Deploys to an emulator: idempotent, keeps the API's id, and waits for no function.

    The emulator calls a function "Pending" for half a second after each change, and runs and
    changes it all the same. AWS does not, so on AWS Chalice waits.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session, sleep=lambda _seconds: time.sleep(_POLL_SECONDS))

    def _wait_for_active(self, function_name: str) -> None:
        """Do not wait."""

    def _wait_for_function_update(self, function_name: str) -> None:
        """Do not wait."""

    def update_function(  # type: ignore[override]  # Chalice calls it with keywords only
        self, function_name: str, zip_contents: Any, **options: Any
    ) -> Any:
        """Update code and configuration, unless both are so already: the emulator would stop the
        function's workers, and the next run would start cold."""
        present = self.get_function_configuration(function_name)
        if not _is_current(present, zip_contents, options):
            return super().update_function(function_name, zip_contents, **options)
        if options.get("tags") is not None:
            self._update_function_tags(present["FunctionArn"], options["tags"])
        return present

    def create_lambda_event_source(
        self,
        event_source_arn: str,
        function_name: str,
        batch_size: int,
        starting_position: str | None = None,
        maximum_batching_window_in_seconds: int | None = 0,
        maximum_concurrency: int | None = None,
    ) -> Any:
        """Return the id of the mapping, the present one if there is one.

        AWS refuses a second mapping of the same pair; the emulator would deliver twice.
        """
        tuning = (batch_size, maximum_batching_window_in_seconds, maximum_concurrency)
        present = self._client("lambda").list_event_source_mappings(
            EventSourceArn=event_source_arn, FunctionName=function_name
        )["EventSourceMappings"]
        if present:
            self.update_lambda_event_source(present[0]["UUID"], *tuning)
            return present[0]["UUID"]
        # Chalice declares no result for this method, and returns the id.
        create: Any = super().create_lambda_event_source
        size, *rest = tuning
        return create(event_source_arn, function_name, size, starting_position, *rest)

    def import_rest_api(self, swagger_document: Json, endpoint_type: str) -> str:
        """Make the API of the document and return its id; an earlier one is taken over."""
        client = self._client("apigateway")
        title = swagger_document["info"]["title"]
        found = find_api(client, _uris(swagger_document))
        if found is None:
            created = client.create_rest_api(
                name=title,
                endpointConfiguration={"types": [endpoint_type]},
                binaryMediaTypes=_binary_types(swagger_document),
            )
            found = str(created["id"])
        self.update_api_from_swagger(found, swagger_document)
        return found

    def update_api_from_swagger(self, rest_api_id: str, swagger_document: Json) -> None:
        """Bring the API to what the document says, leaving alone what is already so."""
        client = self._client("apigateway")
        present = client.get_rest_api(restApiId=rest_api_id).get("binaryMediaTypes", [])
        if sorted(present) != sorted(_binary_types(swagger_document)):
            raise InfraError(
                "the emulator cannot change an API's binary types: destroy the stage first"
            )
        ApiWriter(client, rest_api_id).write(swagger_document)

    def update_rest_api(self, rest_api_id: str, patch_operations: list[Json]) -> None:
        """Patch the API, except its endpoint type, which the emulator would garble."""
        operations = [
            operation
            for operation in patch_operations
            if not str(operation["path"]).startswith("/endpointConfiguration")
        ]
        super().update_rest_api(rest_api_id, operations)


class ApiWriter:
    """Writes one Swagger document, as Chalice makes it, into one REST API call by call."""

    def __init__(self, client: Any, api_id: str) -> None:
        self._client = client
        self._api_id = api_id
        self._present: dict[str, Json] = {}

    def write(self, document: Json) -> None:
        """Make, change and remove resources, methods, authorizers and gateway responses to match
        `document`. Like PutRestApi in overwrite mode, it keeps no response that is not in there."""
        self._gateway_responses(document.get(gateway.EXTENSION, {}))
        security = self._authorizers(document.get("securityDefinitions", {}))
        items = self._client.get_resources(restApiId=self._api_id, limit=500, embed=["methods"])[
            "items"
        ]
        self._present = {item["path"]: item for item in items}
        wanted: set[str] = {"/"}
        for path, methods in document["paths"].items():
            resource = self._resource(path, wanted)
            verbs = {verb.upper(): part for verb, part in methods.items() if verb in _VERBS}
            for verb, part in verbs.items():
                self._method(resource, verb, part, security)
            for verb in set(resource.get("resourceMethods", {})) - set(verbs):
                self._client.delete_method(
                    restApiId=self._api_id, resourceId=resource["id"], httpMethod=verb
                )
        # Children come after their parents in this order, so they go first when reversed.
        for path in sorted(set(self._present) - wanted, reverse=True):
            self._client.delete_resource(
                restApiId=self._api_id, resourceId=self._present[path]["id"]
            )

    def _gateway_responses(self, wanted: Json) -> None:
        present = {
            item["responseType"]: item
            for item in self._client.get_gateway_responses(restApiId=self._api_id, limit=500)[
                "items"
            ]
            if not item.get("defaultResponse")
        }
        for kind in present.keys() - wanted.keys():
            self._client.delete_gateway_response(restApiId=self._api_id, responseType=kind)
        for kind, told in wanted.items():
            there = present.get(kind, {})
            if any(there.get(name) != value for name, value in told.items()):
                self._client.put_gateway_response(restApiId=self._api_id, responseType=kind, **told)

    def _resource(self, path: str, wanted: set[str]) -> Json:
        current = self._present["/"]
        full = ""
        for part in path.strip("/").split("/") if path != "/" else []:
            full += f"/{part}"
            wanted.add(full)
            if full not in self._present:
                self._present[full] = self._client.create_resource(
                    restApiId=self._api_id, parentId=current["id"], pathPart=part
                )
            current = self._present[full]
        return current

    def _authorizers(self, definitions: Json) -> dict[str, Json]:
        """Return, by the name a method uses, the PutMethod arguments that apply it."""
        present = {
            item["name"]: item
            for item in self._client.get_authorizers(restApiId=self._api_id, limit=500)["items"]
        }
        security: dict[str, Json] = {}
        for name, definition in definitions.items():
            extension = definition.get(_AUTHORIZER)
            if extension is None:
                signed = definition.get("x-amazon-apigateway-authtype") == "awsSigv4"
                security[name] = (
                    {"authorizationType": "AWS_IAM"} if signed else {"apiKeyRequired": True}
                )
                continue
            wanted = _authorizer(definition, extension)
            there = present.pop(name, None)
            if there is not None and any(there.get(key) != wanted[key] for key in wanted):
                self._client.delete_authorizer(restApiId=self._api_id, authorizerId=there["id"])
                there = None
            if there is None:
                there = self._client.create_authorizer(restApiId=self._api_id, name=name, **wanted)
            kind = "CUSTOM" if wanted["type"] == "TOKEN" else wanted["type"]
            security[name] = {"authorizationType": kind, "authorizerId": there["id"]}
        for stale in present.values():
            self._client.delete_authorizer(restApiId=self._api_id, authorizerId=stale["id"])
        return security

    def _method(self, resource: Json, verb: str, part: Json, security: dict[str, Json]) -> None:
        arguments: Json = {"authorizationType": "NONE", "apiKeyRequired": False}
        for requirement in part.get("security", []):
            for name, scopes in requirement.items():
                arguments |= security[name] | ({"authorizationScopes": scopes} if scopes else {})
        wanted = part[_INTEGRATION]
        integration = {"type": wanted["type"].upper(), "uri": wanted.get("uri")}
        there = resource.get("resourceMethods", {}).get(verb, {})
        linked = there.get("methodIntegration") or {}
        same_method = all(there.get(key) == value for key, value in arguments.items())
        # Answers of a mock are cheap to write again; a Lambda integration is its URI.
        if same_method and integration["uri"] and linked.get("uri") == integration["uri"]:
            return
        place = {"restApiId": self._api_id, "resourceId": resource["id"], "httpMethod": verb}
        self._client.put_method(**place, **arguments)
        if integration["uri"]:
            self._client.put_integration(
                **place, **integration, integrationHttpMethod=wanted["httpMethod"]
            )
        else:
            self._mock(place, integration["type"], wanted)

    def _mock(self, place: Json, kind: str, wanted: Json) -> None:
        self._client.put_integration(
            **place, type=kind, requestTemplates=wanted["requestTemplates"]
        )
        for answer in wanted["responses"].values():
            status = str(answer["statusCode"])
            headers = answer.get("responseParameters", {})
            self._client.put_method_response(
                **place, statusCode=status, responseParameters=dict.fromkeys(headers, False)
            )
            self._client.put_integration_response(
                **place, statusCode=status, responseParameters=headers
            )


def _is_current(present: Json, zip_contents: bytes, options: Json) -> bool:
    """Return whether a function is what an update would make of it; unsure means no."""
    digest = base64.b64encode(hashlib.sha256(zip_contents).digest()).decode()
    if any(options.get(name) for name in ("layers", "subnet_ids", "security_group_ids")):
        return False
    wanted = {
        "CodeSha256": digest,
        "Runtime": options.get("runtime"),
        "Timeout": options.get("timeout"),
        "MemorySize": options.get("memory_size"),
        "Role": options.get("role_arn"),
    }
    tracing = "Active" if options.get("xray") else "PassThrough"
    return (
        all(present.get(name) == value for name, value in wanted.items())
        and present.get("Environment", {}).get("Variables", {})
        == (options.get("environment_variables") or {})
        and present.get("TracingConfig", {}).get("Mode", "PassThrough") == tracing
    )


def find_api(client: Any, uris: set[str]) -> str | None:
    """Return the id of a REST API with a route to one of `uris`, if any."""
    for page in client.get_paginator("get_rest_apis").paginate():
        for api in page["items"]:
            resources = client.get_resources(restApiId=api["id"], limit=500, embed=["methods"])
            for resource in resources["items"]:
                for method in resource.get("resourceMethods", {}).values():
                    if (method.get("methodIntegration") or {}).get("uri") in uris:
                        return str(api["id"])
    return None


def _uris(document: Json) -> set[str]:
    return {
        str(method[_INTEGRATION]["uri"])
        for path in document["paths"].values()
        for method in path.values()
        if "uri" in method.get(_INTEGRATION, {})
    }


def _binary_types(document: Json) -> list[str]:
    types: list[str] = document.get("x-amazon-apigateway-binary-media-types", [])
    return types


def _authorizer(definition: Json, extension: Json) -> Json:
    wanted: Json = {
        "type": str(extension["type"]).upper(),
        "identitySource": f"method.request.header.{definition.get('name', 'Authorization')}",
    }
    for name in ("authorizerUri", "providerARNs", "authorizerResultTtlInSeconds"):
        if name in extension:
            wanted[name] = extension[name]
    return wanted
