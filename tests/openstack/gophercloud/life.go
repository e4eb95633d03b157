// A load balancer's life by gophercloud, as it is: `life make SUBNET SERVER...`, and then `life remove`. Who to be and where is
// in the environment (OS_AUTH_URL and so on).
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud"
	"github.com/gophercloud/gophercloud/openstack"
	"github.com/gophercloud/gophercloud/openstack/loadbalancer/v2/listeners"
	"github.com/gophercloud/gophercloud/openstack/loadbalancer/v2/loadbalancers"
	"github.com/gophercloud/gophercloud/openstack/loadbalancer/v2/monitors"
	"github.com/gophercloud/gophercloud/openstack/loadbalancer/v2/pools"
	"github.com/gophercloud/gophercloud/openstack/networking/v2/subnets"
)

// How long a load balancer may be pending, or take to go.
const patience = time.Minute

// Tagged is a listener with tags, in the way by which gophercloud lets its users add attributes.
type Tagged struct {
	listeners.CreateOpts
	tags []string
}

// ToListenerCreateMap adds the tags to the body.
func (opts Tagged) ToListenerCreateMap() (map[string]interface{}, error) {
	body, err := opts.CreateOpts.ToListenerCreateMap()
	if err == nil {
		body["listener"].(map[string]interface{})["tags"] = opts.tags
	}
	return body, err
}

// Ends the program if something is not as it should be.
func must(err error, doing string) {
	if err != nil {
		fail("%s: %v", doing, err)
	}
}

func fail(format string, arguments ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

// Ends the program unless an error says these words.
func refused(err error, words string) {
	if err == nil || !strings.Contains(err.Error(), words) {
		fail("refused with %v, and not because of %q", err, words)
	}
}

func services() (*gophercloud.ServiceClient, *gophercloud.ServiceClient) {
	options, err := openstack.AuthOptionsFromEnv()
	must(err, "who to be")
	provider, err := openstack.AuthenticatedClient(options)
	must(err, "signing in")
	region := gophercloud.EndpointOpts{Region: "RegionOne"}
	balancing, err := openstack.NewLoadBalancerV2(provider, region)
	must(err, "finding the load balancers")
	network, err := openstack.NewNetworkV2(provider, region)
	must(err, "finding the networks")
	return balancing, network
}

// Waits until a load balancer is no more pending.
func settled(client *gophercloud.ServiceClient, id string) *loadbalancers.LoadBalancer {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		balancer, err := loadbalancers.Get(client, id).Extract()
		must(err, "asking after the load balancer")
		if balancer.ProvisioningStatus == "ACTIVE" {
			return balancer
		}
		if !strings.HasPrefix(balancer.ProvisioningStatus, "PENDING") || time.Now().After(end) {
			fail("the load balancer is %s", balancer.ProvisioningStatus)
		}
	}
}

func makeAll(subnet string, servers []string) {
	client, network := services()
	pages, err := subnets.List(network, subnets.ListOpts{Name: subnet}).AllPages()
	must(err, "looking the subnet up")
	found, err := subnets.ExtractSubnets(pages)
	must(err, "reading the subnets")
	if len(found) != 1 {
		fail("%d subnets are called %s", len(found), subnet)
	}
	balancer, err := loadbalancers.Create(client, loadbalancers.CreateOpts{
		Name: "go", VipSubnetID: found[0].ID, Tags: []string{"by-gophercloud"},
	}).Extract()
	must(err, "making the load balancer")
	if balancer.ProvisioningStatus != "PENDING_CREATE" {
		fail("a load balancer that was just made is %s", balancer.ProvisioningStatus)
	}
	settled(client, balancer.ID)

	every := Tagged{listeners.CreateOpts{
		Name: "go-dr", Protocol: listeners.ProtocolTCP, ProtocolPort: 1, LoadbalancerID: balancer.ID,
	}, []string{"dr-mode"}}
	listener, err := listeners.Create(client, every).Extract()
	must(err, "making the DR-mode listener")
	settled(client, balancer.ID)
	_, err = listeners.Create(client, every).Extract()
	var conflict gophercloud.ErrDefault409
	if !errors.As(err, &conflict) || !strings.Contains(string(conflict.Body), "already using protocol TCP") {
		fail("a second DR-mode listener: %v", err)
	}
	_, err = listeners.Create(client, listeners.CreateOpts{
		Protocol: listeners.ProtocolHTTP, ProtocolPort: 80, LoadbalancerID: balancer.ID,
	}).Extract()
	refused(err, "does not support a requested option: protocol HTTP")

	pool, err := pools.Create(client, pools.CreateOpts{
		Name: "go-pool", Protocol: pools.ProtocolTCP, LBMethod: "SOURCE_IP_PORT", ListenerID: listener.ID,
	}).Extract()
	must(err, "making the pool")
	settled(client, balancer.ID)
	member, err := pools.CreateMember(client, pool.ID, pools.CreateMemberOpts{
		Address: servers[0], ProtocolPort: 80, SubnetID: found[0].ID,
	}).Extract()
	must(err, "making a member")
	settled(client, balancer.ID)
	weight := 2
	_, err = pools.UpdateMember(client, pool.ID, member.ID, pools.UpdateMemberOpts{Weight: &weight}).Extract()
	must(err, "changing a member")
	settled(client, balancer.ID)
	var all []pools.BatchUpdateMemberOpts
	one := 1
	for _, server := range servers {
		all = append(all, pools.BatchUpdateMemberOpts{Address: server, ProtocolPort: 80, Weight: &one})
	}
	must(pools.BatchUpdateMembers(client, pool.ID, all).ExtractErr(), "replacing the members")
	settled(client, balancer.ID)
	pages, err = pools.ListMembers(client, pool.ID, pools.ListMembersOpts{Limit: 1}).AllPages()
	must(err, "listing the members page by page")
	members, err := pools.ExtractMembers(pages)
	must(err, "reading the members")
	if len(members) != len(servers) {
		fail("%d members are listed", len(members))
	}
	monitor, err := monitors.Create(client, monitors.CreateOpts{
		PoolID: pool.ID, Type: monitors.TypeTCP, Delay: 1, Timeout: 1, MaxRetries: 1,
	}).Extract()
	must(err, "making the monitor")
	settled(client, balancer.ID)
	if monitor.Delay != 1 || len(monitor.Pools) != 1 || monitor.Pools[0].ID != pool.ID {
		fail("the monitor is %+v", monitor)
	}
	limit := 1000
	listener, err = listeners.Update(client, listener.ID, listeners.UpdateOpts{ConnLimit: &limit}).Extract()
	must(err, "changing the listener")
	if listener.ConnLimit != limit || listener.DefaultPoolID != pool.ID {
		fail("the listener is %+v", listener)
	}
	settled(client, balancer.ID)
	tree, err := loadbalancers.GetStatuses(client, balancer.ID).Extract()
	must(err, "asking for the statuses")
	if len(tree.Loadbalancer.Listeners) != 1 || len(tree.Loadbalancer.Listeners[0].Pools) != 1 {
		fail("the statuses are %+v", tree.Loadbalancer)
	}
}

func removeAll() {
	client, _ := services()
	pages, err := loadbalancers.List(client, loadbalancers.ListOpts{Tags: []string{"by-gophercloud"}}).AllPages()
	must(err, "listing load balancers")
	found, err := loadbalancers.ExtractLoadBalancers(pages)
	must(err, "reading load balancers")
	if len(found) != 1 {
		fail("%d load balancers have the tag", len(found))
	}
	id := found[0].ID
	stats, err := loadbalancers.GetStats(client, id).Extract()
	must(err, "asking for statistics")
	if stats.BytesIn == 0 {
		fail("no traffic was counted: %+v", stats)
	}
	must(loadbalancers.Delete(client, id, loadbalancers.DeleteOpts{Cascade: true}).ExtractErr(), "removing all")
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, err := loadbalancers.Get(client, id).Extract()
		var gone gophercloud.ErrDefault404
		if errors.As(err, &gone) {
			return
		}
		if time.Now().After(end) {
			fail("the load balancer does not go: %v", err)
		}
	}
}

func main() {
	if len(os.Args) > 3 && os.Args[1] == "make" {
		makeAll(os.Args[2], os.Args[3:])
	} else {
		removeAll()
	}
}
