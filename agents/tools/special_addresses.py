"""The IP addresses that are no public web site: the special-purpose blocks of both families, and addresses that contain one.

The blocks are those of IANA's registries "IPv4 Special-Purpose Address Space" and "IPv6 Special-Purpose Address Space" (RFC 6890 and
its updates, as of October 2025), including those that are routed but serve no pages, and the multicast addresses.
Python's own ``is_global`` depends on its release: 3.11 counts several of them as global.
"""

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

IPV4_BLOCKS = {
    "0.0.0.0/8": "this network (RFC 791)",
    "10.0.0.0/8": "private use (RFC 1918)",
    "100.64.0.0/10": "shared address space of carriers (RFC 6598)",
    "127.0.0.0/8": "loopback (RFC 1122)",
    "169.254.0.0/16": "link local, metadata services (RFC 3927)",
    "172.16.0.0/12": "private use (RFC 1918)",
    "192.0.0.0/24": "protocol assignments (RFC 6890)",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.31.196.0/24": "AS112 (RFC 7535)",
    "192.52.193.0/24": "AMT relays (RFC 7450)",
    "192.88.99.0/24": "6to4 relay anycast, deprecated (RFC 7526)",
    "192.168.0.0/16": "private use (RFC 1918)",
    "192.175.48.0/24": "AS112, direct delegation (RFC 7534)",
    "198.18.0.0/15": "benchmarking (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast (RFC 5771)",
    "240.0.0.0/4": "reserved (RFC 1112)",
    "255.255.255.255/32": "limited broadcast (RFC 919)",
}
#: Within a cloud's machines these lead to the cloud's own services, though no registry lists them.
CLOUD_BLOCKS = {
    "168.63.129.16/32": "Azure's platform services",
}
IPV6_BLOCKS = {
    "::1/128": "loopback (RFC 4291)",
    "::/128": "unspecified (RFC 4291)",
    "::/96": "IPv4-compatible, deprecated (RFC 4291)",
    "64:ff9b:1::/48": "local NAT64 (RFC 8215)",
    "100::/64": "discard only (RFC 6666)",
    "100:0:0:1::/64": "dummy prefix (RFC 9780)",
    "2001::/23": "protocol assignments: Teredo, benchmarking, AMT, AS112, ORCHID, DRIP (RFC 2928)",
    "2001:db8::/32": "documentation (RFC 3849)",
    "2002::/16": "6to4 (RFC 3056)",
    "2620:4f:8000::/48": "AS112, direct delegation (RFC 7534)",
    "3fff::/20": "documentation (RFC 9637)",
    "5f00::/16": "SRv6 SIDs (RFC 9602)",
    "fc00::/7": "unique local (RFC 4193)",
    "fe80::/10": "link local (RFC 4291)",
    "fec0::/10": "site local, deprecated (RFC 3879)",
    "ff00::/8": "multicast (RFC 4291)",
}
#: All addresses that IANA has assigned to hosts on the internet (RFC 4291); NAT64's own prefix is outside.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4 = tuple(ipaddress.IPv4Network(block) for block in (*IPV4_BLOCKS, *CLOUD_BLOCKS))
_IPV6 = tuple(ipaddress.IPv6Network(block) for block in IPV6_BLOCKS)
#: The interface identifiers of ISATAP (RFC 5214), which are followed by an IPv4 address.
_ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(address: IPAddress) -> bool:
    """Whether an address can be a web site on the internet, and does not lead anywhere else."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _IPV4)
    inside = embedded_ipv4(address)
    if inside is not None and not is_public(inside):
        return False
    if address.ipv4_mapped is not None or address in _NAT64:
        return True
    return address in _GLOBAL_UNICAST and not any(address in block for block in _IPV6)


def embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which a gateway would forward, if any. 6to4 and Teredo are refused as blocks, whatever they contain."""
    number = int(address)
    if address.ipv4_mapped is not None or address in _NAT64 or (number >> 32) & 0xFFFFFFFF in _ISATAP:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return None
