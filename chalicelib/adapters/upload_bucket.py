"""The bucket that clients upload to, by forms that are signed here.

Source: Amazon S3 API Reference, "POST Object" and "Creating a POST policy". A presigned PUT could
not limit the size of what is sent; the policy of a form can.
"""

from typing import Any

from chalicelib.domain.uploads import UploadForm, UploadOrder


class UploadBucket:
    """Signs forms. The client must sign with Signature Version 4 and address buckets by host name:
    S3 takes no other signature in newer regions, and redirects what is sent to the global name."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def sign_form(self, key: str, order: UploadOrder, seconds: int) -> UploadForm:
        """A form that S3 takes for `seconds` (less if the signer's own credentials end sooner), for
        this key and content type only, and 1 to `max_bytes` bytes. No call."""
        content_type = {"Content-Type": order.content_type}
        form = self._client.generate_presigned_post(
            Bucket=self.bucket,
            Key=key,
            Fields=dict(content_type),
            Conditions=[content_type, ["content-length-range", 1, order.max_bytes]],
            ExpiresIn=seconds,
        )
        return UploadForm(form["url"], form["fields"])
