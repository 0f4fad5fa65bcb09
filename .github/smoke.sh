#!/usr/bin/env bash
# Runs the smoke test against a deployed stage, with a token of its own that is gone afterwards.
# Usage: smoke.sh STAGE
set -euo pipefail

stage=$1
python=.venv/bin/python

drop_token() {
	aws dynamodb delete-item --table-name "eventline-$stage-tokens" \
		--key '{"pk": {"S": "TOKEN#deployment"}}' ||
		echo "::warning::the token 'deployment' of $stage could not be removed" >&2
}

API_URL=$($python -c 'import sys; from infra.deploy import deployed_api_url
print(deployed_api_url(sys.argv[1]))' "$stage")
trap drop_token EXIT
TOKEN=$($python -m infra.issue_token --stage "$stage" --id deployment --owner smoke \
	--scopes events:write,events:read)
if [ -n "${GITHUB_ACTIONS:-}" ]; then echo "::add-mask::$TOKEN"; fi
export API_URL TOKEN
make smoke
