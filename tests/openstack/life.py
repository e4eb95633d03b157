"""A load balancer's life by openstacksdk: `life.py make SUBNET SERVER...`, and then `life.py remove`."""

import sys

import openstack
from openstack import exceptions


def refused(kind, words, call, *arguments, **attributes):
    try:
        call(*arguments, **attributes)
    except kind as error:
        assert words in str(error), f"refused with {error}, and not because of {words!r}"
    else:
        raise AssertionError(f"{call.__name__} {attributes} was not refused")


def make(cloud, subnet, servers):
    lb = cloud.load_balancer
    subnet = cloud.network.find_subnet(subnet, ignore_missing=False)
    balancer = lb.create_load_balancer(name="sdk", vip_subnet_id=subnet.id, tags=["by-sdk"])
    assert balancer.provisioning_status == "PENDING_CREATE", balancer
    balancer = lb.wait_for_load_balancer(balancer.id)
    assert balancer.provider == "drlb" and balancer.operating_status == "ONLINE", balancer
    listener = lb.create_listener(
        name="sdk-dr", protocol="TCP", protocol_port=0, load_balancer_id=balancer.id
    )
    web = lb.create_listener(name="sdk-web", protocol="TCP", protocol_port=80, load_balancer_id=balancer.id)
    refused(
        exceptions.ConflictException,
        "already using protocol TCP and protocol_port 80",
        lb.create_listener,
        protocol="TCP",
        protocol_port=80,
        load_balancer_id=balancer.id,
    )
    pools = []
    for of, port in [(listener, 0), (web, 80)]:
        pool = lb.create_pool(
            name=f"{of.name}-pool", protocol="TCP", lb_algorithm="SOURCE_IP_PORT", listener_id=of.id
        )
        pools.append(pool)
        for server in servers:
            lb.create_member(pool, address=server, protocol_port=port, name=server)
    refused(
        exceptions.BadRequestException,
        "must equal the listener protocol_port 80",
        lb.create_member,
        pools[1],
        address=servers[0],
        protocol_port=8080,
    )
    refused(
        exceptions.HttpException,
        f"does not support a requested option: two members with the address {servers[0]}, as direct routing",
        lb.create_member,
        pools[0],
        address=servers[0],
        protocol_port=8080,
    )
    refused(
        exceptions.HttpException,
        "does not support a requested option: protocol HTTP",
        lb.create_listener,
        protocol="HTTP",
        protocol_port=8080,
        load_balancer_id=balancer.id,
    )
    refused(exceptions.NotFoundException, "not found", lb.get_listener, "00000000-0000-4000-8000-000000000000")
    assert [found.name for found in lb.load_balancers(tags=["by-sdk"])] == ["sdk"]
    members = list(lb.members(pools[0], limit=1))
    assert sorted(member.address for member in members) == sorted(servers), "pages lead to each other"
    changed = lb.update_member(members[0], pools[0], weight=1, name="renamed")
    assert (changed.name, changed.weight) == ("renamed", 1)
    assert lb.find_listener("sdk-dr").default_pool_id == pools[0].id
    statistics = lb.get_load_balancer_statistics(balancer.id)
    assert statistics.request_errors == 0


def remove(cloud):
    lb = cloud.load_balancer
    balancer = lb.find_load_balancer("sdk", ignore_missing=False)
    assert lb.get_load_balancer_statistics(balancer.id).bytes_in > 0, "the traffic was counted"
    lb.delete_load_balancer(balancer, cascade=True)
    assert list(lb.load_balancers()) == []
    assert list(lb.pools()) == []


if __name__ == "__main__":
    connection = openstack.connect()
    if sys.argv[1] == "make":
        make(connection, sys.argv[2], sys.argv[3:])
    else:
        remove(connection)
