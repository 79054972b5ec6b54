package lockkeeper.plan.public_ingress_test

import data.lockkeeper.plan.public_ingress

change(type, after, unknown) := {
	"address": sprintf("%s.x", [type]),
	"mode": "managed",
	"type": type,
	"change": {"actions": ["create"], "after": after, "after_unknown": unknown},
}

denied(type, after) := {finding.msg |
	some finding in public_ingress.deny with input as {"plan": {"resource_changes": [change(type, after, {})]}}
}

warned(type, after, unknown) := {finding.msg |
	some finding in public_ingress.warn with input as {"plan": {"resource_changes": [change(type, after, unknown)]}}
}

inline(cidrs, cidrs6, protocol, from, to) := {"ingress": [{
	"cidr_blocks": cidrs, "ipv6_cidr_blocks": cidrs6,
	"protocol": protocol, "from_port": from, "to_port": to,
}]}

test_aws_inline if {
	denied("aws_security_group", inline(["0.0.0.0/0"], [], "tcp", 22, 22)) == {"aws_security_group.x opens port 22 (tcp) to the internet (0.0.0.0/0)"}
	count(denied("aws_security_group", inline(["10.0.0.0/8", "203.0.113.0/24"], [], "tcp", 22, 22))) == 0
	count(denied("aws_security_group", inline([], ["::/0"], "tcp", 22, 22))) == 1
	count(denied("aws_security_group", inline([], ["fd00::/8", "2001:db8::/32"], "tcp", 22, 22))) == 0
	count(denied("aws_security_group", inline(null, null, "tcp", 22, 22))) == 0
	count(denied("aws_default_security_group", inline(["0.0.0.0/0"], [], "-1", 0, 0))) == 1
}

test_web_ports_may_be_public if {
	count(denied("aws_security_group", inline(["0.0.0.0/0"], ["::/0"], "tcp", 443, 443))) == 0
	count(denied("aws_security_group", inline(["0.0.0.0/0"], [], "udp", 443, 443))) == 0
	count(denied("aws_security_group", inline(["0.0.0.0/0"], [], "tcp", 80, 443))) == 1
	count(denied("aws_security_group", inline(["0.0.0.0/0"], [], "-1", 443, 443))) == 1
}

test_two_halves_of_the_internet if {
	count(denied("aws_security_group", inline(["0.0.0.0/1", "128.0.0.0/1"], [], "tcp", 22, 22))) == 2
	count(denied("aws_security_group", inline([], ["8000::/1"], "tcp", 22, 22))) == 1
	count(denied("aws_security_group", inline([], ["fc00::/1"], "tcp", 22, 22))) == 1
}

test_icmp_is_let_through if {
	count(denied("aws_security_group", inline(["0.0.0.0/0"], [], "icmp", -1, -1))) == 0
}

test_aws_security_group_rule if {
	rule := {"type": "ingress", "cidr_blocks": ["0.0.0.0/0"], "ipv6_cidr_blocks": null, "protocol": "tcp", "from_port": 0, "to_port": 65535}
	denied("aws_security_group_rule", rule) == {"aws_security_group_rule.x opens ports 0 to 65535 (tcp) to the internet (0.0.0.0/0)"}
	count(denied("aws_security_group_rule", object.union(rule, {"type": "egress"}))) == 0
}

test_aws_vpc_security_group_ingress_rule if {
	rule := {"cidr_ipv4": "0.0.0.0/0", "cidr_ipv6": null, "ip_protocol": "tcp", "from_port": 3389, "to_port": 3389}
	count(denied("aws_vpc_security_group_ingress_rule", rule)) == 1
	count(denied("aws_vpc_security_group_ingress_rule", object.union(rule, {"cidr_ipv4": null, "cidr_ipv6": "::/0"}))) == 1
	count(denied("aws_vpc_security_group_ingress_rule", object.union(rule, {"cidr_ipv4": null}))) == 0
	denied("aws_vpc_security_group_ingress_rule", {"cidr_ipv4": "0.0.0.0/0", "ip_protocol": "-1"}) == {"aws_vpc_security_group_ingress_rule.x opens every port to the internet (0.0.0.0/0)"}
}

test_google_firewall if {
	rule := {"direction": "INGRESS", "source_ranges": ["0.0.0.0/0"], "allow": [{"protocol": "tcp", "ports": ["22", "443", "8000-9000"]}]}
	denied("google_compute_firewall", rule) == {
		"google_compute_firewall.x opens port 22 (tcp) to the internet (0.0.0.0/0)",
		"google_compute_firewall.x opens ports 8000 to 9000 (tcp) to the internet (0.0.0.0/0)",
	}
	count(denied("google_compute_firewall", object.union(rule, {"direction": "EGRESS"}))) == 0
	count(denied("google_compute_firewall", object.union(rule, {"disabled": true}))) == 0
	count(denied("google_compute_firewall", object.union(rule, {"allow": []}))) == 0
	count(denied("google_compute_firewall", object.union(rule, {"allow": [{"protocol": "all", "ports": null}]}))) == 1
}

test_google_without_sources_admits_everyone if {
	rule := {"allow": [{"protocol": "tcp", "ports": ["22"]}]}
	count(denied("google_compute_firewall", rule)) == 1
	count(denied("google_compute_firewall", object.union(rule, {"source_tags": ["bastion"]}))) == 0
}

test_azure_rule if {
	rule := {
		"direction": "Inbound", "access": "Allow", "protocol": "Tcp",
		"source_address_prefix": "*", "destination_port_range": "22",
	}
	denied("azurerm_network_security_rule", rule) == {"azurerm_network_security_rule.x opens port 22 (tcp) to the internet (*)"}
	count(denied("azurerm_network_security_rule", object.union(rule, {"access": "Deny"}))) == 0
	count(denied("azurerm_network_security_rule", object.union(rule, {"direction": "Outbound"}))) == 0
	count(denied("azurerm_network_security_rule", object.union(rule, {"source_address_prefix": "VirtualNetwork"}))) == 0
	count(denied("azurerm_network_security_rule", object.union(rule, {"destination_port_range": "443"}))) == 0
	count(denied("azurerm_network_security_rule", object.union(rule, {"source_address_prefix": null, "source_address_prefixes": ["Internet"]}))) == 1
	count(denied("azurerm_network_security_rule", object.union(rule, {"destination_port_range": "*", "protocol": "*"}))) == 1
	count(denied("azurerm_network_security_group", {"security_rule": [rule]})) == 1
}

test_what_is_unknown_is_warned_of if {
	count(warned("aws_security_group", {}, {"ingress": true})) == 1
	count(warned("aws_security_group", {"ingress": []}, {"ingress": [], "id": true})) == 0
	count(warned("aws_security_group", {"ingress": []}, {"ingress": [{"cidr_blocks": [true]}]})) == 1
	count(warned("aws_vpc_security_group_ingress_rule", {"ip_protocol": "tcp"}, {"cidr_ipv4": true})) == 1
	count(warned("aws_security_group_rule", {"type": "egress"}, {"cidr_blocks": true})) == 0
	count(warned("google_compute_firewall", {"direction": "EGRESS"}, {"source_ranges": true})) == 0
	count(warned("azurerm_network_security_rule", {"direction": "Inbound", "access": "Deny"}, {"source_address_prefix": true})) == 0
	count(warned("azurerm_network_security_rule", {"direction": "Inbound"}, {"access": true})) == 1
}

test_exempt_addresses_and_configured_ports if {
	document := {"plan": {"resource_changes": [change("aws_security_group", inline(["0.0.0.0/0"], [], "tcp", 22, 22), {})]}}
	count(public_ingress.deny) == 0 with input as document with data.lockkeeper.config as {"public-ingress": {"ports": [22]}}
	count(public_ingress.deny) == 0 with input as document with data.lockkeeper.config as {"public-ingress": {"exempt": ["aws_security_group.x"]}}
	count(public_ingress.deny) == 1 with input as document with data.lockkeeper.config as {"public-ingress": {"ports": []}}
}

test_what_is_destroyed_opens_nothing if {
	gone := {"address": "a.x", "mode": "managed", "type": "aws_security_group", "change": {
		"actions": ["delete"], "after": null, "before": inline(["0.0.0.0/0"], [], "tcp", 22, 22), "after_unknown": {},
	}}
	count(public_ingress.deny) == 0 with input as {"plan": {"resource_changes": [gone]}}
}

test_a_wrong_configuration_denies if {
	count(public_ingress.deny) == 1 with input as {"plan": {"resource_changes": []}} with data.lockkeeper.config as {"public-ingress": {"ports": false}}
	count(public_ingress.deny) == 1 with input as {"plan": {"resource_changes": []}} with data.lockkeeper.config as {"public-ingress": {"portsx": []}}
	count(public_ingress.deny) == 1 with input as {"plan": {"resource_changes": []}} with data.lockkeeper.config as {"public-ingress": []}
	count(public_ingress.deny) == 0 with input as {"plan": {"resource_changes": []}} with data.lockkeeper.config as {}
}

test_nulls_and_nothing_are_no_error if {
	every document in [{"plan": {}}, {"plan": {"resource_changes": null}}, {"plan": {"resource_changes": []}, "stack": {"name": "a", "labels": {}}, "pull_request": {"labels": null}}] {
		count(public_ingress.deny) == 0 with input as document
	}
}

test_null_blocks_open_nothing if {
	count(denied("aws_security_group", {"ingress": null})) == 0
	count(denied("google_compute_firewall", {"allow": null})) == 0
	count(denied("azurerm_network_security_group", {"security_rule": null})) == 0
}

test_unknown_ingress_rules_are_warned_of if {
	count(warned("aws_security_group_rule", {"type": "ingress"}, {"cidr_blocks": true})) == 1
	count(warned("google_compute_firewall", {"direction": "INGRESS"}, {"source_ranges": true})) == 1
}

test_other_protocols_have_no_public_ports if {
	count(denied("aws_security_group", inline(["0.0.0.0/0"], [], "132", 443, 443))) == 1
}

test_unique_local_addresses_are_no_internet if {
	count(denied("aws_security_group", inline([], ["fc00::/7"], "tcp", 22, 22))) == 0
	count(denied("aws_security_group", inline([], ["2000::/7"], "tcp", 22, 22))) == 1
}
