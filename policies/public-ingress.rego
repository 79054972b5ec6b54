# Nothing is opened to the whole internet except the ports that are meant for it.
#
# Looked at, created or changed: aws_security_group and aws_default_security_group (inline `ingress`),
# aws_security_group_rule, aws_vpc_security_group_ingress_rule, google_compute_firewall,
# azurerm_network_security_rule and azurerm_network_security_group (inline `security_rule`).
# The whole internet is 0.0.0.0/0, ::/0 and every range nearly as wide (IPv4 wider than /8, IPv6 wider than /16 outside
# fc00::/7), so that two halves do not pass; for Azure also `*`, `Any` and `Internet`; for Google a rule without sources.
# ICMP is let through. What is known only after apply is warned of.
#
# data.lockkeeper.config["public-ingress"]:
#   ports:   single ports that may be public, over TCP and UDP   [80, 443]
#   exempt:  globs of addresses                                  []
package lockkeeper.plan.public_ingress

import data.lockkeeper.lib

defaults := {"ports": [80, 443], "exempt": []}

config := lib.config("public-ingress", defaults)

deny contains {"msg": problem} if some problem in lib.misconfigured("public-ingress", defaults)

deny contains {"msg": sprintf("%s opens %s to the internet (%s)", [opening.address, opening.what, source]), "address": opening.address} if {
	some opening in openings
	not harmless(opening)
	some source in opening.sources
	public(source)
}

warn contains {"msg": sprintf("%s: whether it opens a port to the internet is known only after apply", [change.address]), "address": change.address} if {
	some change in watched
	some key in unknowns[change.type]
	lib.unknown(change, key)
	not says_no(change)
}

watched := [change |
	some change in lib.written
	unknowns[change.type]
	not lib.matches(change.address, config.exempt)
]

# The attributes that decide, for each type.
unknowns := {
	"aws_security_group": ["ingress"],
	"aws_default_security_group": ["ingress"],
	"aws_security_group_rule": ["type", "cidr_blocks", "ipv6_cidr_blocks", "from_port", "to_port", "protocol"],
	"aws_vpc_security_group_ingress_rule": ["cidr_ipv4", "cidr_ipv6", "from_port", "to_port", "ip_protocol"],
	"google_compute_firewall": ["source_ranges", "allow", "disabled"],
	"azurerm_network_security_rule": ["direction", "access", "source_address_prefix", "source_address_prefixes", "destination_port_range", "destination_port_ranges", "protocol"],
	"azurerm_network_security_group": ["security_rule"],
}

# What is known already decides: it opens nothing, whatever the rest turns out to be.
says_no(change) if {
	change.type == "aws_security_group_rule"
	change.change.after.type == "egress"
}

says_no(change) if {
	change.type == "google_compute_firewall"
	outward(change.change.after)
}

says_no(change) if {
	change.type == "azurerm_network_security_rule"
	not admits(change.change.after, change.change.after_unknown)
}

# One opening: where, from which sources, which ports. `from` and `to` are null where all ports are meant.
openings contains opening if {
	some change in watched
	change.type in {"aws_security_group", "aws_default_security_group"}
	some rule in lib.list(change.change.after, "ingress")
	sources := array.concat(lib.list(rule, "cidr_blocks"), lib.list(rule, "ipv6_cidr_blocks"))
	opening := aws(change, sources, rule.protocol, object.get(rule, "from_port", null), object.get(rule, "to_port", null))
}

openings contains opening if {
	some change in watched
	change.type == "aws_security_group_rule"
	after := change.change.after
	after.type == "ingress"
	sources := array.concat(lib.list(after, "cidr_blocks"), lib.list(after, "ipv6_cidr_blocks"))
	opening := aws(change, sources, object.get(after, "protocol", "-1"), object.get(after, "from_port", null), object.get(after, "to_port", null))
}

openings contains opening if {
	some change in watched
	change.type == "aws_vpc_security_group_ingress_rule"
	after := change.change.after
	sources := [source | some key in ["cidr_ipv4", "cidr_ipv6"]; source := after[key]; is_string(source)]
	opening := aws(change, sources, object.get(after, "ip_protocol", "-1"), object.get(after, "from_port", null), object.get(after, "to_port", null))
}

openings contains opening if {
	some change in watched
	change.type == "google_compute_firewall"
	after := change.change.after
	not outward(after)
	not after.disabled == true
	some rule in lib.list(after, "allow")
	some range in spans(lib.list(rule, "ports"))
	opening := shown(change, google_sources(change), rule.protocol, range)
}

openings contains opening if {
	some change in watched
	change.type == "azurerm_network_security_rule"
	some opening in azure(change, change.change.after, change.change.after_unknown)
}

openings contains opening if {
	some change in watched
	change.type == "azurerm_network_security_group"
	some rule in lib.list(change.change.after, "security_rule")
	some opening in azure(change, rule, {})
}

# AWS: protocol -1 means every port of every protocol, whatever from and to say.
aws(change, sources, protocol, from, to) := shown(change, sources, "all", [null, null]) if {
	lower(sprintf("%v", [protocol])) in {"-1", "all"}
} else := shown(change, sources, protocol, [from, to])

outward(after) if upper(object.get(after, "direction", "")) == "EGRESS"

# A rule with neither ranges nor tags nor accounts admits everyone.
google_sources(change) := lib.list(change.change.after, "source_ranges") if {
	count(lib.list(change.change.after, "source_ranges")) > 0
} else := [] if {
	some key in ["source_ranges", "source_tags", "source_service_accounts"]
	decided(change, key)
} else := ["0.0.0.0/0"]

decided(change, key) if count(lib.list(change.change.after, key)) > 0

decided(change, key) if lib.unknown(change, key)

azure(change, rule, unknown) := [opening |
	admits(rule, unknown)
	sources := array.concat(lib.list(rule, "source_address_prefixes"), word(rule, "source_address_prefix"))
	some range in spans(array.concat(lib.list(rule, "destination_port_ranges"), word(rule, "destination_port_range")))
	opening := shown(change, sources, rule.protocol, range)
]

admits(rule, unknown) if {
	says(rule, unknown, "direction", "inbound")
	says(rule, unknown, "access", "allow")
}

says(rule, _, key, expected) if lower(rule[key]) == expected

says(_, unknown, key, _) if object.get(unknown, key, false) == true

word(object_, key) := [object_[key]] if is_string(object_[key])

else := []

# Ports as written: `22`, `20-30`, `*`; none means all.
spans(texts) := [[null, null]] if {
	count(texts) == 0
} else := [span(text) | some text in texts]

span(text) := [to_number(text), to_number(text)] if {
	regex.match(`^[0-9]+$`, text)
} else := [to_number(ends[0]), to_number(ends[1])] if {
	regex.match(`^[0-9]+-[0-9]+$`, text)
	ends := split(text, "-")
} else := [null, null]

shown(change, sources, protocol, [from, to]) := {
	"address": change.address,
	"sources": sources,
	"protocol": lower(sprintf("%v", [protocol])),
	"from": from,
	"to": to,
	"what": what(lower(sprintf("%v", [protocol])), from, to),
}

what(protocol, from, to) := sprintf("port %v (%s)", [from, protocol]) if {
	from != null
	from == to
} else := sprintf("ports %v to %v (%s)", [from, to, protocol]) if {
	from != null
} else := "every port" if {
	protocol in {"all", "*", "-1"}
} else := sprintf("every port (%s)", [protocol])

harmless(opening) if opening.protocol in {"icmp", "icmpv6", "ipv6-icmp", "1", "58"}

harmless(opening) if {
	opening.protocol in {"tcp", "udp", "6", "17"}
	opening.from == opening.to
	opening.from in config.ports
}

# Azure's words for everyone.
public(source) if lower(source) in {"*", "any", "internet", "0.0.0.0", "::"}

public(source) if {
	[address, bits] := split(source, "/")
	contains(address, ".")
	to_number(bits) < 8
}

public(source) if {
	[address, bits] := split(source, "/")
	contains(address, ":")
	to_number(bits) < 16
	not ours(address, to_number(bits))
}

# Unique local addresses, fc00::/7.
ours(address, bits) if {
	bits >= 7
	regex.match(`^[fF][cCdD]`, address)
}
