# The commands by which DR-mode listeners are made with the standard tools, as they are published; the look-up of the subnet
# reads `fixed_ips` as the list that it is in clients since 6.14. IP is a server's address.
set -eu
SUBNET=$(neutron port-list -f json -c fixed_ips | jq -r --arg ip "$IP" '.[].fixed_ips[] | select(.ip_address==$ip).subnet_id')
neutron lbaas-loadbalancer-create $SUBNET --name my_lb
LB_ID=$(neutron lbaas-loadbalancer-show --name my_lb -f value -c id)
neutron lbaas-listener-create --protocol TCP --protocol-port 0 --loadbalancer $LB_ID --name my_ip_listener
PORT_ID=$(neutron port-list -f json | jq -r --arg ip "$IP" '.[] | select(any(.fixed_ips[]; .ip_address==$ip)).id')
neutron port-update $PORT_ID --allowed-address-pairs type=dict list=true ip_address=1.1.1.1/0
neutron port-show -F allowed_address_pairs -f value $PORT_ID | grep -q 1.1.1.1/0
# What the published text leaves to the reader: the servers.
neutron lbaas-pool-create --name my_pool --lb-algorithm ROUND_ROBIN --listener my_ip_listener --protocol TCP
for SERVER in $SERVERS; do
    neutron lbaas-member-create --subnet $SUBNET --address $SERVER --protocol-port 0 my_pool
done
neutron lbaas-loadbalancer-status my_lb | jq -e '.loadbalancer.provisioning_status == "ACTIVE"'
