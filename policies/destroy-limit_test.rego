package lockkeeper.plan.destroy_limit_test

import data.lockkeeper.plan.destroy_limit

change(type, name, actions) := {
	"address": sprintf("%s.%s", [type, name]),
	"mode": "managed",
	"type": type,
	"change": {"actions": actions},
}

deletions(n) := [change("aws_instance", sprintf("i%d", [i]), ["delete"]) | some i in numbers.range(1, n)]

document(changes, stack_labels, labels) := {
	"plan": {"resource_changes": changes},
	"stack": {"name": "app", "labels": stack_labels},
	"pull_request": {"labels": labels},
}

test_up_to_the_limit if {
	count(destroy_limit.deny) == 0 with input as document(deletions(5), {}, [])
}

test_above_the_limit if {
	some finding in destroy_limit.deny with input as document(deletions(6), {}, [])
	startswith(finding.msg, "this plan destroys 6 resources, more than 5")
}

test_a_replacement_counts if {
	changes := array.concat(deletions(5), [change("aws_instance", "new", ["create", "delete"])])
	count(destroy_limit.deny) == 1 with input as document(changes, {}, [])
}

test_forgetting_does_not_count if {
	changes := array.concat(deletions(5), [change("aws_instance", "kept", ["forget"])])
	count(destroy_limit.deny) == 0 with input as document(changes, {}, [])
}

test_the_label_turns_deny_into_warn if {
	count(destroy_limit.deny) == 0 with input as document(deletions(6), {}, ["Allow-Destroy"])
	count(destroy_limit.warn) == 1 with input as document(deletions(6), {}, ["allow-destroy"])
	count(destroy_limit.warn) == 0 with input as document(deletions(6), {}, [])
}

test_a_database_is_protected if {
	some finding in destroy_limit.deny with input as document([change("aws_db_instance", "main", ["delete", "create"])], {}, [])
	finding.address == "aws_db_instance.main"
}

test_the_stack_says_its_own_limit if {
	count(destroy_limit.deny) == 0 with input as document(deletions(6), {"destroy-limit": "6"}, [])
	count(destroy_limit.deny) == 1 with input as document(deletions(1), {"destroy-limit": "0"}, [])
}

test_a_limit_that_is_no_number_is_not_taken if {
	count(destroy_limit.deny) == 1 with input as document(deletions(6), {"destroy-limit": "many"}, [])
}

test_the_configured_limit if {
	count(destroy_limit.deny) == 1 with input as document(deletions(2), {}, [])
		with data.lockkeeper.config as {"destroy-limit": {"limit": 1}}
}

test_without_a_pull_request_it_denies if {
	count(destroy_limit.deny) == 1 with input as {
		"plan": {"resource_changes": deletions(6)},
		"stack": {"name": "app", "labels": {}},
		"pull_request": null,
	}
}

test_a_wrong_configuration_denies if {
	count(destroy_limit.deny) == 1 with input as document([], {}, []) with data.lockkeeper.config as {"destroy-limit": {"limit": "5"}}
	count(destroy_limit.deny) == 1 with input as document([], {}, []) with data.lockkeeper.config as {"destroy-limit": {"limitx": []}}
	count(destroy_limit.deny) == 1 with input as document([], {}, []) with data.lockkeeper.config as {"destroy-limit": []}
	count(destroy_limit.deny) == 0 with input as document([], {}, []) with data.lockkeeper.config as {}
}

test_nulls_and_nothing_are_no_error if {
	every document in [{"plan": {}}, {"plan": {"resource_changes": null}}, {"plan": {"resource_changes": []}, "stack": {"name": "a", "labels": {}}, "pull_request": {"labels": null}}] {
		count(destroy_limit.deny) == 0 with input as document
	}
}
