package lockkeeper.plan.production_needs_approval_label_test

import data.lockkeeper.plan.production_needs_approval_label as policy

changing := {"resource_changes": [{"address": "a.b", "mode": "managed", "type": "a", "change": {"actions": ["update"]}}]}

document(plan, stack_labels, labels) := {
	"plan": plan,
	"stack": {"name": "app", "labels": stack_labels},
	"pull_request": {"labels": labels},
}

test_production_without_the_label if {
	policy.deny == {{"msg": "app is a production stack: this change needs the label `production-approved` on the pull request"}} with input as document(changing, {"env": "Production"}, ["bug"])
}

test_production_with_the_label if {
	count(policy.deny) == 0 with input as document(changing, {"env": "prod"}, ["production-approved"])
}

test_other_stacks_need_none if {
	count(policy.deny) == 0 with input as document(changing, {"env": "staging"}, [])
	count(policy.deny) == 0 with input as document(changing, {}, [])
}

test_no_change_needs_none if {
	plan := {
		"resource_changes": [{"address": "a.b", "mode": "managed", "type": "a", "change": {"actions": ["no-op"]}}],
		"output_changes": {"o": {"actions": ["no-op"]}},
	}
	count(policy.deny) == 0 with input as document(plan, {"env": "prod"}, [])
}

test_an_output_alone_needs_it if {
	plan := {"resource_changes": [], "output_changes": {"o": {"actions": ["update"]}}}
	count(policy.deny) == 1 with input as document(plan, {"env": "prod"}, [])
}

test_a_move_an_import_and_forgetting_need_it if {
	changes := [
		{"change": {"actions": ["no-op"]}, "previous_address": "a.c"},
		{"change": {"actions": ["no-op"], "importing": {"id": "i"}}},
		{"change": {"actions": ["forget"]}},
	]
	every change in changes {
		plan := {"resource_changes": [object.union(change, {"address": "a.b", "mode": "managed", "type": "a"})]}
		count(policy.deny) == 1 with input as document(plan, {"env": "prod"}, [])
	}
}

test_no_pull_request_has_no_label if {
	count(policy.deny) == 1 with input as {"plan": changing, "stack": {"name": "app", "labels": {"env": "prod"}}, "pull_request": null}
}

test_configured_labels if {
	config := {"production-needs-approval-label": {"stacks": {"tier": ["live"]}, "label": "go"}}
	count(policy.deny) == 1 with input as document(changing, {"tier": "live"}, ["production-approved"])
		with data.lockkeeper.config as config
	count(policy.deny) == 0 with input as document(changing, {"tier": "live"}, ["go"])
		with data.lockkeeper.config as config
	count(policy.deny) == 0 with input as document(changing, {"env": "prod"}, [])
		with data.lockkeeper.config as config
}

test_a_wrong_configuration_denies if {
	count(policy.deny) == 1 with input as document({"resource_changes": []}, {}, []) with data.lockkeeper.config as {"production-needs-approval-label": {"label": false}}
	count(policy.deny) == 1 with input as document({"resource_changes": []}, {}, []) with data.lockkeeper.config as {"production-needs-approval-label": {"labelx": []}}
	count(policy.deny) == 1 with input as document({"resource_changes": []}, {}, []) with data.lockkeeper.config as {"production-needs-approval-label": []}
	count(policy.deny) == 0 with input as document({"resource_changes": []}, {}, []) with data.lockkeeper.config as {}
}

test_nulls_and_nothing_are_no_error if {
	every document in [{"plan": {}}, {"plan": {"resource_changes": null}}, {"plan": {"resource_changes": []}, "stack": {"name": "a", "labels": {}}, "pull_request": {"labels": null}}] {
		count(policy.deny) == 0 with input as document
	}
}
