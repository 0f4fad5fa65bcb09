"""AWS, below every capability: clients (made nowhere else), what the SDK raises, DynamoDB's calls
and values, effects that happen once, SQS, SNS, SSM, threads. It may import `core`.

The errors that callers see are botocore's own, or those of `core.errors`.
"""
