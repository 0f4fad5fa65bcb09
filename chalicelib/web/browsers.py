"""What browsers are told: the security headers of every answer, and who may read it (CORS).

The API serves data, so a browser is to run, frame and keep nothing of it; the console's files have
headers of their own. Sources:
OWASP REST Security Cheat Sheet, "Security Headers"; Fetch Standard, "CORS protocol".
"""

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# A `*` does not stand for Authorization, so all are named.
ALLOWED_HEADERS = (
    "Accept",
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "ce-dataschema",
    "ce-id",
    "ce-source",
    "ce-specversion",
    "ce-subject",
    "ce-time",
    "ce-type",
)
EXPOSED_HEADERS = (
    "Content-Disposition",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
PREFLIGHT_SECONDS = 600
"""How long a browser may remember what it was allowed."""


def readable_by(origin: str) -> dict[str, str]:
    """The headers by which an answer may be read by the pages of `origin`; none without one."""
    if not origin:
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ",".join(EXPOSED_HEADERS),
    }
