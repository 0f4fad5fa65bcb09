"""Deploys the application of one stage, then sets what Chalice cannot.

    python -m infra.deploy --stage dev

Against AWS it is `chalice deploy --stage dev` followed by what becomes of events that fail, and by
the access log of the API. When AWS_ENDPOINT_URL names an emulator, the same deployment runs with
`infra.emulator`.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chalice.awsclient import TypedAWSClient
from chalice.deploy.appgraph import ApplicationGraphBuilder, DependencyBuilder
from chalice.deploy.deployer import (
    ChaliceDeploymentError,
    Deployer,
    ResultsRecorder,
    create_build_stage,
)
from chalice.deploy.executor import Executor
from chalice.deploy.planner import PlanStage, RemoteState
from chalice.deploy.swagger import TemplatedSwaggerGenerator
from chalice.deploy.sweeper import ResourceSweeper
from chalice.utils import UI, OSUtils

from chalicelib.core.config import TABLE
from infra import (
    access_log,
    account,
    archive,
    boundary,
    check_settings,
    event_sources,
    gateway,
    policies,
    project,
    wheels,
)
from infra.emulator import EmulatorClient
from infra.project import InfraError, Json, say


class NotProvisionedError(InfraError):
    """Raised when a stage is deployed before `make provision` has run for it."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"{stage} is not provisioned here: run `make provision STAGE={stage}`")


class NotDeployedError(InfraError):
    """Raised when the URL of a stage is asked for that is not deployed from this directory."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"{stage} is not deployed from here: run `make deploy STAGE={stage}`")


class DeployError(InfraError):
    """Raised when Chalice could not deploy; the message is Chalice's."""


def deploy(stage: str, project_dir: Path = project.ROOT) -> str:
    """Deploy `stage` and return the URL of its API, without a slash at the end.

    Safe to repeat; the API keeps its id and so its URL. Raises `InfraError` or botocore's errors.
    """
    part = project.stage_config(project.read_config(project_dir), stage)
    if policies.missing_policies(project_dir, part):
        raise NotProvisionedError(stage)
    check_settings.check(stage, part, written_later=["ACCOUNT_ID"])
    account.check_runtime()
    session = project.session()
    boundary.apply(project.client(session, "iam"), stage, part["lambda_functions"])
    with chalice_process(project_dir):
        factory = boundary.Factory(str(project_dir), environ=os.environ)
        config = factory.create_config_obj(stage, user_provided_params=wheels.here())
        ui = UI()
        variables = config.environment_variables
        gateway.extend_swagger(variables.get("AUTH_MODE", ""), variables.get("CORS_ORIGIN", ""))
        deployer = _deployer(factory.create_botocore_session(), config, ui)
        try:
            with archive.ready(project_dir, variables), wheels.locked(project_dir):
                deployed = deployer.deploy(config, chalice_stage_name=stage)
        except ChaliceDeploymentError as error:
            raise DeployError(str(error)) from error
        factory.create_deployment_reporter(ui=ui).display_report(_reported(deployed))
    lambdas = project.client(session, "lambda")
    event_sources.apply(lambdas, stage, part, deployed_resources(stage, project_dir))
    account.warn_of_quota(lambdas)
    if project.emulator_endpoint() is None:
        gateways = project.client(session, "apigateway")
        access_log.apply(gateways, stage, part, rest_api(stage, project_dir))
    return deployed_api_url(stage, project_dir)


def deployed_api_url(stage: str, project_dir: Path = project.ROOT) -> str:
    """Return the URL of the deployed API as it answers here, without a slash at the end.

    Raises `NotDeployedError` when this directory has no record of a deployment.
    """
    api = rest_api(stage, project_dir)
    endpoint = project.emulator_endpoint()
    if endpoint is None:
        return str(api["rest_api_url"]).rstrip("/")
    return f"{endpoint}/_aws/execute-api/{api['rest_api_id']}/{access_log.api_stage(api)}"


def deployed_resources(stage: str, project_dir: Path) -> list[Json]:
    """Return what Chalice recorded of the last deployment of `stage`; empty when there is none."""
    record = project_dir / ".chalice" / "deployed" / f"{stage}.json"
    if not record.is_file():
        return []
    resources: list[Json] = json.loads(record.read_text(encoding="utf-8"))["resources"]
    return resources


def rest_api(stage: str, project_dir: Path) -> Json:
    """Return Chalice's record of the API of `stage`; raises `NotDeployedError`."""
    for resource in deployed_resources(stage, project_dir):
        if resource["resource_type"] == "rest_api" and "rest_api_url" in resource:
            return resource
    raise NotDeployedError(stage)


@contextlib.contextmanager
def chalice_process(project_dir: Path) -> Iterator[None]:
    """Give Chalice a process of its own to change, and take the changes back.

    Chalice puts the stage's variables into `os.environ` and imports `app` by name. Several
    directories and stages are deployed from one process, so neither may be left behind. A setting
    in the shell is taken away: `app` would be deployed with it, and run without.
    """
    environ, path, cwd = dict(os.environ), list(sys.path), Path.cwd()
    own = {name: module for name, module in sys.modules.items() if _is_application(name)}
    for name in own:
        del sys.modules[name]
    for setting in TABLE:
        if setting.name != check_settings.SET_BY_LAMBDA:
            os.environ.pop(setting.name, None)
    sys.path.insert(0, str(project_dir))
    os.chdir(project_dir)
    try:
        yield
    finally:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environ)
        sys.path[:] = path
        for name in [name for name in sys.modules if _is_application(name)]:
            del sys.modules[name]
        sys.modules.update(own)


def _is_application(module: str) -> bool:
    return module.split(".", 1)[0] in {"app", "chalicelib"}


def _deployer(session: Any, config: Any, ui: Any) -> Any:
    """Return Chalice's default deployer, with the client for emulators where there is one, and a
    look at what it is about to deploy."""
    client = EmulatorClient(session) if project.emulator_endpoint() else TypedAWSClient(session)
    osutils = OSUtils()
    state = RemoteState(client, config.deployed_resources(config.chalice_stage))
    return Deployer(
        application_builder=ApplicationGraphBuilder(),
        deps_builder=DependencyBuilder(),
        build_stage=wheels.CheckedBuild(
            create_build_stage(osutils, ui, TemplatedSwaggerGenerator(), config)
        ),
        plan_stage=PlanStage(osutils=osutils, remote_state=state),
        sweeper=ResourceSweeper(),
        executor=Executor(client, ui),
        recorder=ResultsRecorder(osutils=osutils),
    )


def _reported(deployed: Json) -> Json:
    """Leave out the API's URL on an emulator, where the one that Chalice makes up is not served."""
    if project.emulator_endpoint() is None:
        return deployed
    shown = [part for part in deployed["resources"] if part["resource_type"] != "rest_api"]
    return {**deployed, "resources": shown}


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = project.arguments("Deploy the application of one stage.").parse_args(argv)
    return project.run(lambda: say(f"API: {deploy(given.stage, given.project_dir.resolve())}"))


if __name__ == "__main__":
    sys.exit(main())
