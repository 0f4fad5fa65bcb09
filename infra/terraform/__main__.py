"""The command: `python -m infra.terraform --stage dev`."""

import sys

from infra import project
from infra.terraform import root


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = project.arguments("Write a stage as a Terraform root module.")
    parser.add_argument("--kms-key-arn", default="", help="customer key; none without")
    parser.add_argument(
        "--alert-email", default="", help="where alarms are mailed; nowhere without"
    )
    given = parser.parse_args(argv)
    checkout = given.project_dir.resolve()
    target = checkout / "build" / "terraform" / given.stage

    def command() -> None:
        root.write(given.stage, target, checkout, given.kms_key_arn, given.alert_email)
        project.say(f"{target.relative_to(checkout)}: terraform init, terraform plan")

    return project.run(command)


if __name__ == "__main__":
    sys.exit(main())
