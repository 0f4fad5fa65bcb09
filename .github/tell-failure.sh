#!/usr/bin/env bash
# Puts a message about this run on a stage's ci-events-queue, from where it gets to Slack.
# Usage: tell-failure.sh STAGE MESSAGE
set -euo pipefail

body=$(STAGE=$1 MESSAGE=$2 python3 -c '
import json, os

said = {"status": "error", "message": os.environ["MESSAGE"], "stage": os.environ["STAGE"]}
names = ("REPOSITORY", "WORKFLOW", "JOB", "REF_NAME", "SHA", "ACTOR", "RUN_ID", "SERVER_URL")
told = {name.lower(): os.environ.get(f"GITHUB_{name}") for name in names}
print(json.dumps(said | {name: value for name, value in told.items() if value}))')
queue=$(aws sqs get-queue-url --queue-name "eventline-$1-ci-events-queue" \
	--query QueueUrl --output text) ||
	{ echo "::error::the ci-events-queue of $1 was not found, so nobody is told: $2" >&2; exit 1; }
aws sqs send-message --queue-url "$queue" --message-body "$body" >/dev/null
echo "told: $2"
