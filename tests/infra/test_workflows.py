"""The workflows: what they may do, what they run and when, and that lint sees what it should."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import project

FOLDER = project.ROOT / ".github"
FILES = sorted((FOLDER / "workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES
}
MAKEFILE = (project.ROOT / "Makefile").read_text(encoding="utf-8")


def jobs() -> list[tuple[str, dict[str, Any]]]:
    """Every job with its name."""
    return [
        (f"{file}:{name}", job)
        for file, workflow in WORKFLOWS.items()
        for name, job in workflow["jobs"].items()
    ]


def steps(file: str, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WORKFLOWS[file]["jobs"][job]["steps"]
    return found


def deployment() -> dict[str, dict[str, Any]]:
    """The steps of a deployment by their names."""
    return {step["name"]: step for step in steps("deploy-stage.yml", "deploy") if "name" in step}


def triggers(file: str) -> dict[str, Any]:
    # YAML 1.1 reads the word `on` as true.
    found: dict[str, Any] = WORKFLOWS[file][True]
    return found


def test_every_action_is_pinned_by_commit_with_its_version() -> None:
    pinned = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
    own = re.compile(r"uses: \./\.github/workflows/([\w.-]+)$")
    seen = set()
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" not in line:
                continue
            called = own.search(line)
            assert called or pinned.search(line), line
            if called:
                assert called[1] in WORKFLOWS
            else:
                seen.add(line.split("uses: ")[1])
    names = [entry.split("@")[0] for entry in seen]
    assert len(names) == len(set(names)), "one action is pinned at two commits"


def test_nothing_is_permitted_but_to_jobs_that_need_it() -> None:
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {}
    for name, job in jobs():
        assert job["permissions"] in (
            {"contents": "read"},
            {"contents": "read", "id-token": "write"},
        ), name
        takes_role = "environment" in job or "deploy-stage" in job.get("uses", "")
        assert ("id-token" in job["permissions"]) is takes_role, name


def test_no_secret_is_asked_for_and_no_key_is_kept() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "secrets" not in text
        assert not re.search(r"aws[-_](?:secret[-_])?access[-_]key", text, re.IGNORECASE)
        checkouts = text.count("uses: actions/checkout@")
        assert text.count("persist-credentials: false") == checkouts


def test_what_others_write_is_never_run() -> None:
    for name, job in jobs():
        for step in job.get("steps", []):
            assert "${{" not in step.get("run", ""), name
    for file in WORKFLOWS:
        assert set(triggers(file)) <= {"pull_request", "workflow_call", "push"}


def test_every_job_ends_by_itself() -> None:
    for name, job in jobs():
        assert "uses" in job or job["timeout-minutes"] <= 90, name


def test_the_tests_are_those_that_people_run_on_every_python_that_is_claimed() -> None:
    job = WORKFLOWS["ci.yml"]["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    claimed = tomllib.loads((project.ROOT / "pyproject.toml").read_text())["project"]
    assert claimed["requires-python"] == f">={versions[0]}"
    assert job["steps"][-1]["run"].startswith("make test ")
    assert set(triggers("ci.yml")) == {"pull_request", "workflow_call"}


def test_every_make_target_and_module_that_is_run_exists() -> None:
    texts = [path.read_text(encoding="utf-8") for path in [*FILES, *FOLDER.glob("*.sh")]]
    for text in texts:
        for target in re.findall(r"^\s*(?:- )?(?:run: )?make ([a-z-]+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
        for module in re.findall(r"-m (infra[\w.]*)", text):
            assert (project.ROOT / f"{module.replace('.', '/')}.py").is_file(), module
        for script in re.findall(r"bash (\.github/\S+)", text):
            assert (project.ROOT / script).is_file(), script


def test_nothing_is_deployed_untested_and_prod_comes_last() -> None:
    found = WORKFLOWS["deploy.yml"]["jobs"]
    assert triggers("deploy.yml") == {"push": {"branches": ["main"]}}
    assert found["test"]["uses"].endswith("/ci.yml")
    assert found["dev"]["needs"] == "test"
    assert found["prod"]["needs"] == "dev"
    for stage in ("dev", "prod"):
        assert found[stage]["with"] == {"stage": stage}
        assert "if" not in found[stage]


def test_a_stage_is_deployed_under_the_environment_of_its_name_one_at_a_time() -> None:
    job = WORKFLOWS["deploy-stage.yml"]["jobs"]["deploy"]
    assert job["environment"] == "${{ inputs.stage }}"
    assert job["concurrency"] == {
        "group": "deploy-${{ inputs.stage }}",
        "cancel-in-progress": False,
    }
    (role,) = (step for step in job["steps"] if "configure-aws-credentials" in step.get("uses", ""))
    assert role["with"] == {
        "role-to-assume": "${{ vars.AWS_DEPLOY_ROLE_ARN }}",
        "aws-region": "${{ vars.AWS_REGION }}",
    }
    assert job["env"]["FUNCTION_BOUNDARY_ARN"] == "${{ vars.FUNCTION_BOUNDARY_ARN }}"


def test_a_deployment_takes_its_steps_in_order() -> None:
    assert list(deployment()) == [
        "Take the stage's role",
        "Fetch what is deployed",
        "Provision",
        "Deploy",
        "Keep what is deployed",
        "Smoke test",
        "Keep the release",
        "Roll back",
        "Tell of the failure",
    ]
    assert deployment()["Provision"]["run"] == 'make provision STAGE="$STAGE"'
    assert deployment()["Deploy"]["run"] == 'make deploy STAGE="$STAGE"'


def test_a_release_is_kept_only_once_its_smoke_test_has_passed() -> None:
    kept = deployment()["Keep the release"]
    assert "if" not in kept
    assert '--release "$GITHUB_SHA"' in kept["run"]
    assert "--release" not in deployment()["Keep what is deployed"]["run"]
    assert "outcome != 'skipped'" in deployment()["Keep what is deployed"]["if"]


def test_a_failed_smoke_test_or_deployment_puts_the_release_before_back() -> None:
    step = deployment()["Roll back"]
    condition = step["if"]
    assert condition.startswith("${{ failure() && steps.record.outputs.previous != '' &&")
    for outcome in ("steps.deploy.outcome", "steps.smoke.outcome"):
        assert f"{outcome} == 'failure'" in condition
    assert 'infra.rollback --stage "$STAGE" --release "$PREVIOUS"' in step["run"]
    assert step["env"]["PREVIOUS"] == "${{ steps.record.outputs.previous }}"
    ids = {name: step.get("id") for name, step in deployment().items()}
    assert ids["Fetch what is deployed"] == "record"
    assert (ids["Deploy"], ids["Smoke test"]) == ("deploy", "smoke")


def test_whatever_fails_is_told() -> None:
    told = deployment()["Tell of the failure"]
    assert told["if"] == "${{ failure() || cancelled() }}"
    job = WORKFLOWS["deploy.yml"]["jobs"]["tell"]
    assert (job["needs"], job["if"]) == ("test", "${{ failure() }}")
    assert "tell-failure.sh dev" in job["steps"][-1]["run"]


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ((r"@[0-9a-f]{40} # v6.0.2", "@v6"), "zizmor"),
        ((r"^permissions: \{\}", "permissions: write-all"), "zizmor"),
        (
            (r"make provision STAGE=\"\$STAGE\"", "make provision STAGE=${{ inputs.stage }}"),
            "zizmor",
        ),
        ((r"runs-on:", "run-on:"), "schema"),
        ((r"timeout-minutes: \d+", "timeout-minutes: soon"), "schema"),
    ],
    ids=["unpinned", "write-all", "template injection", "unknown key", "wrong type"],
)
def test_lint_refuses(tmp_path: Path, change: tuple[str, str], by: str) -> None:
    # Given
    (tmp_path / "workflows").mkdir()
    (tmp_path / "zizmor.yml").write_text((FOLDER / "zizmor.yml").read_text())
    copy = tmp_path / "workflows" / "deploy-stage.yml"
    text = (FOLDER / "workflows" / "deploy-stage.yml").read_text()
    mutated = re.sub(*change, text, count=1, flags=re.MULTILINE)
    assert mutated != text
    copy.write_text(mutated)
    found = re.search(r"^workflows: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found
    lines = [line.strip() for line in found[1].splitlines()]
    (line,) = (each for each in lines if ("zizmor " if by == "zizmor" else "-workflows") in each)
    command = line.replace("$(BIN)", str(Path(sys.executable).parent))
    command = command.replace(".github/workflows/*.yml", str(copy)).replace(
        "pedantic .github", f"pedantic {tmp_path}"
    )

    # When, Then
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode not in (0, 127), done.stderr
