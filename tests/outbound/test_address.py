"""Which URLs and addresses may be called: a list of those that a hostile customer would try."""

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.outbound.address import is_public, url_fault

REFUSED_ADDRESSES = [
    # IPv4: this network, private, shared (CGNAT), loopback, link-local with the metadata services.
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254"),
    *("127.0.0.1", "127.1.2.3", "127.255.255.254", "169.254.0.1", "169.254.169.254"),
    *("169.254.170.2", "169.254.169.253", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
    # Protocol assignments, documentation, benchmarks, AS112, AMT, the old 6to4 relay.
    *("192.0.0.1", "192.0.0.170", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1"),
    *("198.19.255.255", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1"),
    # Multicast, reserved, broadcast.
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    # IPv6: unspecified, loopback, IPv4-compatible and -mapped in both spellings.
    *("::", "::1", "::7f00:1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1"),
    *("::ffff:169.254.169.254", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:7f00:1"),
    # NAT64, 6to4, Teredo, ORCHID, documentation, discard, segment routing.
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1"),
    *("2002:a9fe:a9fe::", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1"),
    *("2001:20::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1"),
    # Unique local with Amazon's metadata and resolver, link-local, site-local, multicast, zones.
    *("fc00::1", "fd00:ec2::254", "fd00:ec2::253", "fe80::1", "fe80::1%eth0", "fec0::1"),
    *("ff02::1", "ff0e::1", "2606:4700::1%1"),
    # No addresses at all.
    *("", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "1.2.3.4.5"),
]
PUBLIC_ADDRESSES = [
    *("8.8.8.8", "1.1.1.1", "52.94.236.248", "100.63.255.255", "100.128.0.1", "172.15.0.1"),
    *("172.32.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:80b::200e"),
]
REFUSED_URLS = [
    # Not https.
    *("http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/"),
    *("//example.com/", "example.com", "https:/example.com", "https:example.com", "HTTPS", ""),
    # Ourselves, in every spelling that some resolver or library understands.
    *("https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://a.localhost/"),
    *("https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://2130706433/"),
    *("https://0x7f000001/", "https://0x7f.0x0.0x0.0x1/", "https://017700000001/", "https://0/"),
    *("https://0177.0.0.1/", "https://00000177.1/", "https://127.0.0.1./", "https://0x7f.1/"),
    *("https://[::1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/"),
    *("https://[64:ff9b::127.0.0.1]/", "https://[2002:7f00:1::]/", "https://[fe80::1%25eth0]/"),
    "https://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    # Digits and dots that are not ASCII; encoded hosts.
    *(
        "https://\u2460\u2461\u2467.0.0.1/",
        "https://127\u30020\u30020\u30021/",
        "https://%31%32%37.0.0.1/",
    ),
    *(
        "https://ex\u0430mple.com/",
        "https://example.com%2f@127.0.0.1/",
        "https://127.0.0.1%00.example.com/",
    ),
    # Metadata services and private networks.
    *("https://169.254.169.254/latest/meta-data/", "https://2852039166/", "https://0xa9fea9fe/"),
    *("https://0251.0376.0251.0376/", "https://[fd00:ec2::254]/", "https://169.254.43518/"),
    *("https://10.0.0.1/", "https://192.168.1.1/", "https://100.64.0.1/", "https://0.0.0.0/"),
    *(
        "https://metadata.google.internal/",
        "https://ip-10-0-0-1.ec2.internal/",
        "https://printer.local/",
    ),
    # Names that only our own network knows, and no names.
    *(
        "https://database/",
        "https://intranet:8443/",
        "https://example.com./",
        "https://.example.com/",
    ),
    *("https://example..com/", "https://-example.com/", "https:///path", "https://example.1/"),
    # Users, odd ports, fragments, characters that parsers read in different ways.
    *("https://user@example.com/", "https://user:password@example.com/", "https://@example.com/"),
    *(
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1#@example.com/",
        "https://example.com/#a",
    ),
    *("https://example.com:22/", "https://example.com:25/", "https://example.com:80/"),
    *("https://example.com:0/", "https://example.com:65536/", "https://example.com:x/"),
    *("https://example.com:-1/", "https://example.com\\@127.0.0.1/", "https:\\\\127.0.0.1/"),
    *(
        "https://exam ple.com/",
        "https://example.com/a b",
        "https://example.com/\n",
        "\thttps://a.com",
    ),
    *(
        "https://[::1",
        "https://[example.com]/",
        "https://::1/",
        "https://example.com/" + "a" * 2048,
    ),
]
GOOD_URLS = [
    *("https://example.com", "https://example.com/", "https://hooks.example.com/a/b?c=d&e=f"),
    *(
        "https://example.com:443/",
        "https://example.com:8443/",
        "https://xn--bcher-kva.example.com/",
    ),
    *(
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "HTTPS://EXAMPLE.COM/Path",
        "https://a_b.com/",
    ),
]
LOOPBACK_URLS = [
    *("http://localhost:9000/", "http://127.0.0.1:80/", "https://127.0.0.1:9000/hook"),
    *("http://[::1]:9000/", "https://localhost/"),
]


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_not_refused(address: str) -> None:
    assert is_public(address)


def test_this_machine_is_reached_in_the_local_stage_alone() -> None:
    for address in ("127.0.0.1", "127.8.8.8", "::1"):
        assert is_public(address, loopback=True)
    for address in ("10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fe80::1"):
        assert not is_public(address, loopback=True)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_that_may_lead_inside_is_refused(url: str) -> None:
    assert url_fault(url)


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_public_url_is_not_refused(url: str) -> None:
    assert url_fault(url) is None
    assert url_fault(url, loopback=True) is None


@pytest.mark.parametrize("url", LOOPBACK_URLS)
def test_a_url_of_this_machine_is_for_the_local_stage_alone(url: str) -> None:
    assert url_fault(url, loopback=True) is None
    assert url_fault(url)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "http://10.0.0.1/", "http://127.1/", "https://a@localhost/"),
        "http://localhost:0/",
    ],
)
def test_the_local_stage_refuses_everything_else_too(url: str) -> None:
    assert url_fault(url, loopback=True)


def test_the_list_is_long_enough() -> None:
    assert len(set(REFUSED_ADDRESSES)) + len(set(REFUSED_URLS)) >= 120


parts = st.sampled_from(
    ["https", "http", ":", "//", "/", "@", "#", "?", "[", "]", "%", "::1", "127.0.0.1", "0x7f", ".",
     "1", "localhost", "example.com", ":443", ":0", "\\", " ", "\u2460", "a" * 64, "\n"]
)  # fmt: skip


@given(st.lists(parts, max_size=9).map("".join))
def test_any_text_is_judged_without_a_fault_of_ours(text: str) -> None:
    fault = url_fault(text)
    assert fault is None or fault.startswith("must ")
    assert isinstance(is_public(text), bool)
    if fault is None:
        host = urlsplit(text).hostname or ""
        assert text.lower().startswith("https://")
        assert host not in ("localhost", "127.0.0.1", "::1", "1", "0x7f")


@given(st.integers(0, 2**128 - 1))
def test_an_ipv6_address_is_public_only_if_python_says_so_too(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    assert address.is_global or not is_public(str(address))


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_public_only_if_python_says_so_too(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    assert (address.is_global and not address.is_multicast) or not is_public(str(address))
