# A change to a production stack needs a label on the pull request that says somebody agreed to it.
#
# Which stacks are production is said by their labels in `lockkeeper.yaml` at base. Anyone who may label pull requests
# (triage and up) can set it; who may approve is for `apply.require` and branch protection.
# A plan that changes nothing, outputs included, needs no label.
#
# data.lockkeeper.config["production-needs-approval-label"]:
#   stacks:  stack labels and their values that make a stack production   {"env": ["production", "prod"], "environment": ["production", "prod"]}
#   label:   the label that is needed                                     "production-approved"
package lockkeeper.plan.production_needs_approval_label

import data.lockkeeper.lib

defaults := {
	"stacks": {
		"env": ["production", "prod"],
		"environment": ["production", "prod"],
	},
	"label": "production-approved",
}

config := lib.config("production-needs-approval-label", defaults)

deny contains {"msg": problem} if some problem in lib.misconfigured("production-needs-approval-label", defaults)

deny contains {"msg": sprintf("%s is a production stack: this change needs the label `%s` on the pull request", [input.stack.name, config.label])} if {
	is_production
	changes_something
	not lib.has_label(config.label)
}

is_production if {
	some key, values in config.stacks
	some value in values
	lower(input.stack.labels[key]) == lower(value)
}

changes_something if count(lib.changes) > 0

changes_something if {
	some _, output in lib.entries(lib.plan, "output_changes")
	not output.actions == ["no-op"]
}

# Moves, imports and forgetting change the state even where no resource changes.
changes_something if {
	some change in lib.list(lib.plan, "resource_changes")
	some key in {"previous_address", "importing"}
	object.get(change, key, object.get(change, ["change", key], null)) != null
}

changes_something if {
	some change in lib.list(lib.plan, "resource_changes")
	"forget" in change.change.actions
}
