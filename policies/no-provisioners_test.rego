package lockkeeper.plan.no_provisioners_test

import data.lockkeeper.plan.no_provisioners

resource(address, types) := {
	"address": address,
	"mode": "managed",
	"provisioners": [{"type": type, "expressions": {}} | some type in types],
}

document(root) := {"plan": {"configuration": {"root_module": root}}}

addresses(root) := {finding.address | some finding in no_provisioners.deny with input as document(root)}

test_none if {
	count(no_provisioners.deny) == 0 with input as document({"resources": [{"address": "aws_instance.a", "mode": "managed"}]})
}

test_an_empty_root_module if {
	count(no_provisioners.deny) == 0 with input as document({})
}

test_in_the_root_module if {
	no_provisioners.deny == {{"msg": "aws_instance.a runs a `local-exec` provisioner", "address": "aws_instance.a"}} with input as document({"resources": [resource("aws_instance.a", ["local-exec"])]})
}

test_each_kind_is_named if {
	count(no_provisioners.deny) == 2 with input as document({"resources": [resource("aws_instance.a", ["file", "remote-exec"])]})
}

test_in_a_module_of_a_module if {
	inner := {"resources": [resource("null_resource.x", ["local-exec"])]}
	outer := {"module_calls": {"inner": {"source": "./inner", "module": inner}}}
	addresses({"module_calls": {"outer": {"source": "./outer", "module": outer}}}) == {"module.outer.module.inner.null_resource.x"}
}

test_a_module_named_like_our_words if {
	inner := {"resources": [resource("null_resource.x", ["local-exec"])]}
	addresses({"module_calls": {"module_calls": {"source": "./m", "module": inner}}}) == {"module.module_calls.null_resource.x"}
}

test_allowed_types_and_exempt_addresses if {
	root := {"resources": [resource("aws_instance.a", ["file", "local-exec"]), resource("null_resource.b", ["local-exec"])]}
	found := {finding.address |
		some finding in no_provisioners.deny with input as document(root)
			with data.lockkeeper.config as {"no-provisioners": {"allow": ["file"], "exempt": ["null_resource.*"]}}
	}
	found == {"aws_instance.a"}
}

test_a_plan_without_configuration if {
	count(no_provisioners.deny) == 1 with input as {"plan": {"resource_changes": []}}
}

test_a_wrong_configuration_denies if {
	count(no_provisioners.deny) == 1 with input as document({}) with data.lockkeeper.config as {"no-provisioners": {"allow": false}}
	count(no_provisioners.deny) == 1 with input as document({}) with data.lockkeeper.config as {"no-provisioners": {"allowx": []}}
	count(no_provisioners.deny) == 1 with input as document({}) with data.lockkeeper.config as {"no-provisioners": []}
	count(no_provisioners.deny) == 0 with input as document({}) with data.lockkeeper.config as {}
}

test_nulls_and_nothing_are_no_error if {
	every document in [{"plan": {}}, {"plan": {"resource_changes": null}}, {"plan": {"resource_changes": []}, "stack": {"name": "a", "labels": {}}, "pull_request": {"labels": null}}] {
		count(no_provisioners.deny) == 1 with input as document
	}
}

test_an_allowed_type_is_not_named if {
	found := {finding.msg |
		some finding in no_provisioners.deny with input as document({"resources": [resource("aws_instance.a", ["file", "local-exec"])]})
			with data.lockkeeper.config as {"no-provisioners": {"allow": ["file"]}}
	}
	found == {"aws_instance.a runs a `local-exec` provisioner"}
}

test_a_value_of_that_name_is_none if {
	value := {"constant_value": {"address": "x", "provisioners": [{"type": "local-exec"}]}}
	count(no_provisioners.deny) == 0 with input as document({"resources": [{"address": "a.b", "mode": "managed", "expressions": {"input": value}}]})
}
