"""Which addresses `fetch_page` takes for public, compared with IANA's registries block by block."""

import ipaddress

import pytest

from agents.tools.special_addresses import CLOUD_BLOCKS, IPV4_BLOCKS, IPV6_BLOCKS, is_public


@pytest.mark.parametrize("block", [*IPV4_BLOCKS, *CLOUD_BLOCKS, *IPV6_BLOCKS])
def test_no_address_of_a_special_block_is_public(block: str) -> None:
    network = ipaddress.ip_network(block)
    inside = {network[0], network[-1], network[network.num_addresses // 2]}
    assert not any(is_public(address) for address in inside)


#: Just outside the blocks on either side, and well-known sites.
PUBLIC = [
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
    "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "8.8.8.8", "2606:4700:4700::1111", "2001:200::1", "2001:4860:4860::8888",
    "2003::1", "2a00:1450::1", "3ffe:ffff::1", "2620:4f:8001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2a00::5efe:808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_beside_special_blocks_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


#: IPv6 addresses that contain an IPv4 address, in each of the formats.
EMBEDDING = [
    "::ffff:{}", "64:ff9b::{}", "::{}", "2002:{hex}::1", "2001:0:{hex}::1", "64:ff9b:1::{}",
    "2a00::5efe:{hex}", "2a00::200:5efe:{hex}",
]  # fmt: skip


@pytest.mark.parametrize("way", EMBEDDING)
@pytest.mark.parametrize(
    "inside", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "168.63.129.16"]
)
def test_an_address_that_hides_another_is_judged_by_it(way: str, inside: str) -> None:
    packed = ipaddress.IPv4Address(inside).packed.hex()
    assert not is_public(ipaddress.ip_address(way.format(inside, hex=f"{packed[:4]}:{packed[4:]}")))


@pytest.mark.parametrize("address", ["4000::1", "1000::1", "8000::1", "e000::1", "200::1", "100:0:0:2::1"])
def test_unassigned_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
