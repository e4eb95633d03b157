"""Hooks of schemathesis for the fuzzing of the OpenStack API.

What is made of the API's description alone seldom names an object that is there. So the ids in paths and bodies become, most
of the time, those of objects that are, and some are made where there is none; values that the description cannot tell become
such as are taken. Every change that is acknowledged goes into the file that DRLB_FUZZ_JOURNAL names, one JSON object a line:
from then on there is in `list` an object `id` with these attributes, or none if `object` is null.
"""

import atexit
import json
import os
import random

import requests
import schemathesis

SUBNET = "11111111-1111-4111-8111-111111111111"
# The lists of the objects that attributes name.
NAMED_BY = {
    "loadbalancer_id": "loadbalancers",
    "listener_id": "listeners",
    "default_pool_id": "pools",
    "pool_id": "pools",
    "flavor_id": "flavors",
    "flavor_profile_id": "flavorprofiles",
    "availability_zone_profile_id": "availabilityzoneprofiles",
}
HTTP_ONLY = {"http_method", "url_path", "expected_codes", "http_version", "domain_name"}
# What follows from other objects and from the data plane, and not from requests for the object itself.
DERIVED = {
    "provisioning_status",
    "operating_status",
    "updated_at",
    "listeners",
    "pools",
    "members",
    "healthmonitor_id",
    "loadbalancers",
    "default_pool_id",
}

chance = random.Random(int(os.environ["DRLB_FUZZ_SEED"]))
base = os.environ["DRLB_FUZZ_URL"]
journal = open(os.environ["DRLB_FUZZ_JOURNAL"], "w", encoding="utf-8")
# What is there: the path of each object's list, and what it goes with, by id.
there = {}


def note(path, id, object_):
    kept = object_ and {name: value for name, value in object_.items() if name not in DERIVED}
    print(json.dumps({"list": path, "id": id, "object": kept}), file=journal, flush=True)


def remember(path, object_):
    """An object is there as it was answered."""
    id = object_["name"] if path == "availabilityzones" else object_["id"]
    owners = [one["id"] for one in object_.get("loadbalancers") or []]
    if path == "healthmonitors":
        owners = [one["id"] for one in object_["pools"]]
    elif path.startswith("pools/"):
        owners = [path.split("/")[1]]
    there[id] = (path, owners)
    note(path, id, object_)
    return id


def forget(id):
    """An object is gone, and with it what belongs to it."""
    path, _ = there.pop(id)
    note(path, id, None)
    for other in [other for other, (_, owners) in there.items() if id in owners]:
        if other in there:
            forget(other)


def look(path):
    """What a list has that was made in passing."""
    response = requests.get(f"{base}/{path}", timeout=30)
    assert response.status_code == 200, f"{path}: {response.status_code} {response.text}"
    (objects,) = [value for name, value in response.json().items() if not name.endswith("_links")]
    for object_ in objects:
        if object_["id"] not in there:
            remember(path, object_)
    return objects


def make(path, singular, **attributes):
    response = requests.post(f"{base}/{path}", json={singular: attributes}, timeout=30)
    assert response.status_code == 201, f"{path}: {response.status_code} {response.text}"
    return remember(path, response.json()[singular])


def made(kind):
    """Makes an object of a kind, and those that it needs."""
    name = f"planted-{len(there)}-{chance.randrange(1 << 30)}"
    if kind == "loadbalancers":
        return make(kind, "loadbalancer", name=name, vip_subnet_id=SUBNET)
    if kind == "listeners":
        owner = any_of("loadbalancers")
        return make(kind, "listener", loadbalancer_id=owner, protocol="TCP", protocol_port=chance.randrange(1000, 65000))
    if kind == "pools":
        owner = any_of("loadbalancers")
        return make(kind, "pool", loadbalancer_id=owner, protocol="TCP", lb_algorithm="SOURCE_IP")
    if kind == "members":
        # Another address than any that requests make up.
        return make(f"pools/{any_of('pools')}/members", "member", address=address("198.18"), protocol_port=80)
    if kind == "healthmonitors":
        pool = make("pools", "pool", loadbalancer_id=any_of("loadbalancers"), protocol="TCP", lb_algorithm="SOURCE_IP")
        return make(kind, "healthmonitor", pool_id=pool, type="PING", delay=5, timeout=5, max_retries=3)
    if kind == "flavorprofiles":
        return make(kind, "flavorprofile", name=name, provider_name="drlb", flavor_data="{}")
    if kind == "flavors":
        return make(kind, "flavor", name=name, flavor_profile_id=any_of("flavorprofiles"))
    if kind == "availabilityzoneprofiles":
        data = {"provider_name": "drlb", "availability_zone_data": "{}"}
        return make(kind, "availability_zone_profile", name=name, **data)
    if kind == "availabilityzones":
        profile = any_of("availabilityzoneprofiles")
        return make(kind, "availability_zone", name=name, availability_zone_profile_id=profile)
    # Another project than the one that has all this, whose quota would soon be met.
    return "cafe" if kind == "quotas" else "drlb"


def address(net):
    return f"{net}.{chance.randrange(256)}.{chance.randrange(1, 255)}"


def any_of(kind):
    """The id of an object of a kind, one of the youngest."""
    ids = [id for id, (path, _) in there.items() if path == kind or path.startswith("pools/") and kind == "members"]
    return chance.choice(ids[-4:]) if ids else made(kind)


def likely(value, creating):
    """A body that has more of what is there and of what is taken."""
    if isinstance(value, list):
        return [likely(item, creating) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: likely(item, creating) for name, item in value.items()}
    for name in changed:
        if chance.random() < 0.05:
            continue
        if name in HTTP_ONLY and value.get("type") not in ("HTTP", "HTTPS"):
            changed[name] = None
        elif name == "pool_id" and chance.random() < 0.5:
            # One that has no monitor yet.
            changed[name] = made("pools")
        elif name in NAMED_BY:
            changed[name] = any_of(NAMED_BY[name])
        elif name in ("flavor_data", "availability_zone_data"):
            changed[name] = "{}"
        elif name in ("provider", "provider_name"):
            changed[name] = "drlb"
        elif name in ("address", "vip_address", "monitor_address"):
            changed[name] = address("192.0")
        elif name in ("project_id", "tenant_id"):
            changed[name] = "shop"
        elif name == "protocol":
            changed[name] = chance.choice(["TCP", "TCP", "UDP", "SCTP", changed[name]])
        elif name == "vip_port_id" or name.endswith(("_ref", "_refs", "_ciphers", "_versions", "_protocols")):
            changed[name] = None
        elif name in ("additional_vips", "vip_sg_ids", "l7policies") and chance.random() < 0.8:
            changed[name] = []
        elif name in ("vip_qos_policy_id", "hsts_max_age", "insert_headers") and chance.random() < 0.8:
            changed[name] = None
    if creating and isinstance(value.get("loadbalancer"), dict):
        changed["loadbalancer"].setdefault("vip_subnet_id", SUBNET)
    if creating and isinstance(value.get("pool"), dict):
        pool = changed["pool"]
        if pool.get("listener_id"):
            pool.pop("loadbalancer_id", None)
        else:
            pool.setdefault("loadbalancer_id", any_of("loadbalancers"))
    return changed


@atexit.register
def leave_one_of_each():
    for kind in (*NAMED_BY.values(), "members", "healthmonitors", "availabilityzones"):
        made(kind)


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path.strip("/").split("/")
    members = path[2:3] == ["members"]
    for name in case.path_parameters or {}:
        if chance.random() < 0.1:
            continue
        if members and name == "id":
            case.path_parameters["id"] = found = any_of("members")
            case.path_parameters["pool_id"] = there[found][0].split("/")[1]
        elif not members or "id" not in case.path_parameters:
            case.path_parameters[name] = any_of(path[0])
    if isinstance(case.body, dict) and chance.random() < 0.9:
        case.body = likely(case.body, case.method == "POST")


@schemathesis.hook
def after_call(context, case, response):
    path = response.request.path_url.split("?")[0].split("/lbaas/", 1)[-1].strip("/").split("/")
    method, status = response.request.method, response.status_code
    if method == "POST" and status == 201 or method == "PUT" and status == 200:
        (object_,) = response.json().values()
        members = path[0] == "pools" and path[2:3] == ["members"]
        remember("/".join(path[:3]) if members else path[0], object_)
        # What was made with it in one request.
        pools = [object_["id"]] if path == ["pools"] and method == "POST" else []
        if path == ["listeners"] and method == "POST" and object_["default_pool_id"]:
            pools = [object_["default_pool_id"]]
            look("pools")
        if pools:
            look("healthmonitors")
        if path == ["loadbalancers"] and method == "POST":
            for kind in ("listeners", "pools", "healthmonitors"):
                look(kind)
            pools = [pool["id"] for pool in object_["pools"]]
        for pool in pools:
            look(f"pools/{pool}/members")
    elif method == "PUT" and status == 202 and path[2:] == ["members"]:
        now = {member["id"] for member in look(f"pools/{path[1]}/members")}
        for id in [id for id, (_, owners) in there.items() if path[1] in owners and there[id][0].endswith("members")]:
            if id not in now:
                forget(id)
    elif method == "DELETE" and status == 204 and path[-1] in there:
        forget(path[-1])
