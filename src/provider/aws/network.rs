//! Whether the subnets that an environment is given do for what shall be put into them: looked up before anything is
//! made, and everything that is wrong said at once.

use std::collections::{BTreeMap, BTreeSet};

use super::access::Session;
use super::failure::Fault;
use super::query::{Query, child, items, text};
use crate::domain::plan::ResourceKind;

/// What tells a cluster's load balancers which subnets are theirs:
/// <https://docs.aws.amazon.com/eks/latest/userguide/network-load-balancing.html>.
const LOAD_BALANCER_TAGS: [&str; 2] = ["kubernetes.io/role/internal-elb", "kubernetes.io/role/elb"];
/// Where to everything else goes.
const EVERYWHERE: &str = "0.0.0.0/0";

/// A subnet, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subnet {
    /// Its id.
    pub(super) id: String,
    /// The id of its network.
    pub(super) vpc: String,
    /// The name of its zone.
    pub(super) zone: String,
    /// Addresses that are free.
    pub(super) free: u64,
    /// Names of its tags whose value is `1` or empty: what a switch is.
    pub(super) switches: BTreeSet<String>,
    /// Where what leaves the network goes.
    pub(super) egress: Egress,
}

/// Where a route to everywhere leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Egress {
    /// A NAT or transit gateway, or something else that gives what has no public address a way out.
    Gateway,
    /// An internet gateway, which only serves what has a public address.
    Internet,
    /// Something that is not there any more.
    Blackhole,
    /// There is none.
    None,
}

/// A route table, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouteTable {
    vpc: String,
    subnets: BTreeSet<String>,
    is_main: bool,
    egress: Egress,
}

/// What is wrong with the subnets for resources of these kinds, one line each: which subnet, what, and what to do. `given`
/// is what `landfall.yaml` names, `found` what the cloud has of that. Empty if all is well.
#[must_use]
pub(super) fn problems(
    given: &BTreeSet<String>,
    vpc: Option<&str>,
    found: &[Subnet],
    kinds: &BTreeSet<ResourceKind>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for id in given {
        if !found.iter().any(|subnet| subnet.id == *id) {
            problems.push(format!(
                "there is no subnet `{id}` in this account and region; correct `network.subnets` in landfall.yaml"
            ));
        }
    }
    let networks: BTreeSet<&str> = found.iter().map(|subnet| subnet.vpc.as_str()).collect();
    let zones: BTreeSet<&str> = found.iter().map(|subnet| subnet.zone.as_str()).collect();
    if vpc.is_none() && networks.len() > 1 {
        let each: Vec<String> = found
            .iter()
            .map(|subnet| format!("`{}` in `{}`", subnet.id, subnet.vpc))
            .collect();
        problems.push(format!(
            "the subnets are of several networks ({}); name subnets of one",
            each.join(", ")
        ));
    }
    if zones.len() == 1 {
        let zone = zones.iter().copied().collect::<String>();
        problems.push(format!(
            "all subnets are in zone `{zone}`; add one in another zone, so that the loss of a zone is not the loss of all"
        ));
    }
    let needed = kinds.iter().map(|kind| addresses(*kind)).max().unwrap_or(0);
    for subnet in found {
        let id = &subnet.id;
        if let Some(vpc) = vpc.filter(|vpc| *vpc != subnet.vpc) {
            let theirs = &subnet.vpc;
            problems.push(format!(
                "subnet `{id}` is in the network `{theirs}`, not in `{vpc}` as landfall.yaml says; name subnets of one network"
            ));
        }
        match subnet.egress {
            Egress::Gateway => {}
            Egress::Internet => problems.push(format!(
                "subnet `{id}` is public: its route to {EVERYWHERE} leads to an internet gateway, which does nothing for what has no public address; name a private subnet, with a route to a NAT or transit gateway"
            )),
            Egress::Blackhole => problems.push(format!(
                "subnet `{id}` has a route to {EVERYWHERE} whose target is gone (blackhole); lead it to a NAT or transit gateway that is there"
            )),
            Egress::None => problems.push(format!(
                "subnet `{id}` has no route to {EVERYWHERE}; add one to a NAT or transit gateway"
            )),
        }
        if subnet.free < needed {
            problems.push(format!(
                "subnet `{id}` has {} free addresses, and {needed} are needed; free some, or name a larger subnet",
                subnet.free
            ));
        }
        let is_told = LOAD_BALANCER_TAGS
            .iter()
            .any(|tag| subnet.switches.contains(*tag));
        if kinds.contains(&ResourceKind::Cluster) && !is_told {
            let [internal, _] = LOAD_BALANCER_TAGS;
            problems.push(format!(
                "subnet `{id}` lacks the tag `{internal}` = `1`, without which a cluster puts no load balancer there; add it"
            ));
        }
    }
    problems
}

/// How many addresses must be free in each subnet.
fn addresses(kind: ResourceKind) -> u64 {
    match kind {
        // "We recommend at least 16": https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
        ResourceKind::Cluster => 16,
        // The instance, and the one that takes over while it is maintained or fails.
        ResourceKind::Database => 2,
        ResourceKind::VirtualMachine => 1,
        ResourceKind::Storage | ResourceKind::Repository | ResourceKind::Network => 0,
    }
}

/// Looks the subnets up. What is not there is not in the answer.
///
/// # Errors
/// What EC2 or the way to it says.
pub(super) async fn subnets(
    query: &Query,
    session: &Session,
    ids: &BTreeSet<String>,
) -> Result<Vec<Subnet>, Fault> {
    // By filter, and not by id: an id that is not there would hide the others.
    let filter = filter("subnet-id", ids);
    let mut found = query
        .ec2(session, "DescribeSubnets", &filter, "subnetSet", subnet)
        .await?;
    found.sort_by(|one, other| one.id.cmp(&other.id));
    if found.is_empty() {
        return Ok(found);
    }
    let networks: BTreeSet<String> = found.iter().map(|subnet| subnet.vpc.clone()).collect();
    let filter = self::filter("vpc-id", &networks);
    let tables = query
        .ec2(
            session,
            "DescribeRouteTables",
            &filter,
            "routeTableSet",
            route_table,
        )
        .await?;
    for subnet in &mut found {
        subnet.egress = egress(subnet, &tables);
    }
    Ok(found)
}

fn filter(name: &str, values: &BTreeSet<String>) -> Vec<(String, String)> {
    let values = values
        .iter()
        .zip(1..)
        .map(|(value, place): (_, u32)| (format!("Filter.1.Value.{place}"), value.clone()));
    [("Filter.1.Name".to_owned(), name.to_owned())]
        .into_iter()
        .chain(values)
        .collect()
}

/// By the subnet's own route table, else by its network's main one.
fn egress(subnet: &Subnet, tables: &[RouteTable]) -> Egress {
    let own = tables.iter().find(|table| table.subnets.contains(&subnet.id));
    let main = || {
        tables
            .iter()
            .find(|table| table.is_main && table.vpc == subnet.vpc)
    };
    own.or_else(main).map_or(Egress::None, |table| table.egress)
}

fn subnet(node: roxmltree::Node<'_, '_>) -> Option<Subnet> {
    let tags: BTreeMap<String, String> = items(node, "tagSet")
        .filter_map(|tag| Some((text(tag, "key")?, text(tag, "value").unwrap_or_default())))
        .collect();
    Some(Subnet {
        id: text(node, "subnetId")?,
        vpc: text(node, "vpcId")?,
        zone: text(node, "availabilityZone")?,
        free: text(node, "availableIpAddressCount")?.parse().ok()?,
        switches: tags
            .into_iter()
            .filter(|(_, value)| value.is_empty() || value == "1")
            .map(|(key, _)| key)
            .collect(),
        egress: Egress::None,
    })
}

fn route_table(node: roxmltree::Node<'_, '_>) -> Option<RouteTable> {
    let to_everywhere = items(node, "routeSet")
        .find(|route| text(*route, "destinationCidrBlock").as_deref() == Some(EVERYWHERE));
    Some(RouteTable {
        vpc: text(node, "vpcId")?,
        subnets: items(node, "associationSet")
            .filter_map(|association| text(association, "subnetId"))
            .collect(),
        is_main: items(node, "associationSet")
            .any(|association| text(association, "main").as_deref() == Some("true")),
        egress: to_everywhere.map_or(Egress::None, leads),
    })
}

fn leads(route: roxmltree::Node<'_, '_>) -> Egress {
    if text(route, "state").as_deref() == Some("blackhole") {
        return Egress::Blackhole;
    }
    let gateway = text(route, "gatewayId").unwrap_or_default();
    let others = [
        "natGatewayId",
        "transitGatewayId",
        "networkInterfaceId",
        "instanceId",
        "vpcPeeringConnectionId",
        "coreNetworkArn",
        "carrierGatewayId",
        "localGatewayId",
    ];
    if gateway.starts_with("igw-") {
        Egress::Internet
    } else if !gateway.is_empty() || others.iter().any(|target| child(route, target).is_some()) {
        Egress::Gateway
    } else {
        Egress::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ResourceKind::{Cluster, Database, Storage};

    fn private(id: &str, zone: &str) -> Subnet {
        Subnet {
            id: id.into(),
            vpc: "vpc-1".into(),
            zone: zone.into(),
            free: 200,
            switches: BTreeSet::from([LOAD_BALANCER_TAGS[0].to_owned()]),
            egress: Egress::Gateway,
        }
    }

    fn said(vpc: Option<&str>, found: &[Subnet], kind: ResourceKind) -> Vec<String> {
        let given = ["subnet-a", "subnet-b"].map(String::from).into();
        problems(&given, vpc, found, &BTreeSet::from([kind]))
    }

    #[test]
    fn private_subnets_in_two_zones_do_for_everything() {
        let found = [private("subnet-a", "a"), private("subnet-b", "b")];
        for kind in [Cluster, Database, Storage] {
            assert_eq!(said(Some("vpc-1"), &found, kind), [""; 0], "{kind:?}");
            assert_eq!(said(None, &found, kind), [""; 0], "{kind:?}");
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_named_with_its_subnet() {
        type Change = fn(&mut Subnet);
        let cases: [(Change, ResourceKind, &str); 9] = [
            (
                |subnet| subnet.zone = "a".into(),
                Storage,
                "all subnets are in zone `a`",
            ),
            (
                |subnet| subnet.vpc = "vpc-2".into(),
                Storage,
                "`subnet-b` is in the network `vpc-2`, not in `vpc-1`",
            ),
            (
                |subnet| subnet.egress = Egress::None,
                Storage,
                "`subnet-b` has no route to 0.0.0.0/0",
            ),
            (
                |subnet| subnet.egress = Egress::Blackhole,
                Storage,
                "`subnet-b` has a route to 0.0.0.0/0 whose target is gone",
            ),
            (
                |subnet| subnet.egress = Egress::Internet,
                Storage,
                "`subnet-b` is public",
            ),
            (
                |subnet| subnet.free = 15,
                Cluster,
                "`subnet-b` has 15 free addresses, and 16 are needed",
            ),
            (
                |subnet| subnet.free = 1,
                Database,
                "`subnet-b` has 1 free addresses, and 2 are needed",
            ),
            (
                |subnet| subnet.switches.clear(),
                Cluster,
                "`subnet-b` lacks the tag `kubernetes.io/role/internal-elb`",
            ),
            (
                |subnet| subnet.id = "subnet-c".into(),
                Storage,
                "there is no subnet `subnet-b`",
            ),
        ];
        for (change, kind, expected) in cases {
            let mut found = [private("subnet-a", "a"), private("subnet-b", "b")];
            change(&mut found[1]);
            let problems = said(Some("vpc-1"), &found, kind);
            assert!(
                matches!(&problems[..], [one] if one.contains(expected)),
                "{expected}: {problems:?}"
            );
        }
    }

    #[test]
    fn what_a_cluster_needs_a_database_does_not() {
        let mut found = [private("subnet-a", "a"), private("subnet-b", "b")];
        found[1].free = 15;
        found[1].switches = BTreeSet::from([LOAD_BALANCER_TAGS[1].to_owned()]);
        assert_eq!(said(None, &found, Database), [""; 0]);
        assert_eq!(
            said(None, &found, Cluster).len(),
            1,
            "the tag for public ones does, too"
        );
    }

    #[test]
    fn all_of_it_is_said_at_once() {
        let mut found = [private("subnet-a", "a")];
        found[0].egress = Egress::None;
        found[0].free = 0;
        found[0].switches.clear();
        assert_eq!(said(Some("vpc-2"), &found, Cluster).len(), 6);
        let strangers = [
            private("subnet-a", "a"),
            Subnet {
                vpc: "vpc-2".into(),
                ..private("subnet-b", "b")
            },
        ];
        let problems = said(None, &strangers, Database);
        assert!(
            problems[0].contains("`subnet-a` in `vpc-1`, `subnet-b` in `vpc-2`"),
            "{problems:?}"
        );
    }

    fn read<T>(xml: &str, list: &str, entry: impl Fn(roxmltree::Node<'_, '_>) -> Option<T>) -> Vec<T> {
        let page = roxmltree::Document::parse(xml).unwrap();
        items(page.root_element(), list)
            .map(|item| entry(item).unwrap())
            .collect()
    }

    /// The shape of EC2's answers, from its API reference.
    #[test]
    fn a_subnet_goes_by_its_own_route_table_and_else_by_the_main_one() {
        let route = |target: &str| {
            format!("<item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock>{target}</item>")
        };
        let table = |association: &str, routes: &str| {
            format!(
                "<item><vpcId>vpc-1</vpcId><routeSet><item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock>\
                 <gatewayId>local</gatewayId></item>{routes}</routeSet>\
                 <associationSet><item>{association}</item></associationSet></item>"
            )
        };
        let cases = [
            (
                "<natGatewayId>nat-1</natGatewayId><state>active</state>",
                Egress::Gateway,
            ),
            (
                "<transitGatewayId>tgw-1</transitGatewayId><state>active</state>",
                Egress::Gateway,
            ),
            ("<gatewayId>vpce-1</gatewayId>", Egress::Gateway),
            (
                "<gatewayId>igw-1</gatewayId><state>active</state>",
                Egress::Internet,
            ),
            (
                "<natGatewayId>nat-1</natGatewayId><state>blackhole</state>",
                Egress::Blackhole,
            ),
        ];
        for (target, expected) in cases {
            let xml = format!(
                "<DescribeRouteTablesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><routeTableSet>{}{}\
                 </routeTableSet></DescribeRouteTablesResponse>",
                table("<main>true</main>", ""),
                table("<subnetId>subnet-a</subnetId><main>false</main>", &route(target)),
            );
            let tables = read(&xml, "routeTableSet", route_table);
            assert_eq!(egress(&private("subnet-a", "a"), &tables), expected, "{target}");
            assert_eq!(
                egress(&private("subnet-b", "b"), &tables),
                Egress::None,
                "the main one has none"
            );
        }
    }

    #[test]
    fn a_subnet_is_read_with_its_tags() {
        let xml = "<DescribeSubnetsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><subnetSet><item>\
            <subnetId>subnet-a</subnetId><vpcId>vpc-1</vpcId><availabilityZone>a</availabilityZone>\
            <availableIpAddressCount>200</availableIpAddressCount><tagSet>\
            <item><key>kubernetes.io/role/internal-elb</key><value>1</value></item>\
            <item><key>Name</key><value>private a</value></item></tagSet></item></subnetSet></DescribeSubnetsResponse>";
        let subnet = read(xml, "subnetSet", subnet).remove(0);
        assert_eq!(
            subnet,
            Subnet {
                egress: Egress::None,
                ..private("subnet-a", "a")
            }
        );
    }
}
