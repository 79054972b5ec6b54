package lockkeeper.plan.required_tags_test

import data.lockkeeper.plan.required_tags

change(type, actions, after, unknown) := {
	"address": sprintf("%s.x", [type]),
	"mode": "managed",
	"type": type,
	"change": {"actions": actions, "after": after, "after_unknown": unknown},
}

denied(changes) := {finding.msg |
	some finding in required_tags.deny with input as {"plan": {"resource_changes": changes}}
		with data.lockkeeper.config as {}
}

warned(changes) := {finding.msg |
	some finding in required_tags.warn with input as {"plan": {"resource_changes": changes}}
		with data.lockkeeper.config as {}
}

both := {"owner": "a", "environment": "b"}

test_all_there if {
	count(denied([change("aws_s3_bucket", ["create"], {"tags": both}, {})])) == 0
	count(warned([change("aws_s3_bucket", ["create"], {"tags": both}, {})])) == 0
}

test_one_missing if {
	denied([change("aws_s3_bucket", ["create"], {"tags": {"owner": "a"}}, {})]) == {"aws_s3_bucket.x has no tag `environment`"}
}

test_none_at_all if {
	count(denied([change("aws_s3_bucket", ["update"], {"tags": null}, {})])) == 2
}

test_an_empty_value_is_missing if {
	count(denied([change("aws_s3_bucket", ["create"], {"tags": {"owner": " ", "environment": "b"}}, {})])) == 1
}

test_default_tags_of_the_provider_count if {
	count(denied([change("aws_s3_bucket", ["create"], {"tags": null, "tags_all": both}, {})])) == 0
}

test_labels_are_lower_case if {
	changes := [change("google_storage_bucket", ["create"], {"labels": {"owner": "a"}}, {})]
	found := {finding.msg |
		some finding in required_tags.deny with input as {"plan": {"resource_changes": changes}}
			with data.lockkeeper.config as {"required-tags": {"tags": ["Owner", "Team"]}}
	}
	found == {"google_storage_bucket.x has no tag `Team`"}
}

test_tag_blocks_of_an_auto_scaling_group if {
	blocks := [{"key": "owner", "value": "a"}, {"key": "environment", "value": "b"}]
	count(denied([change("aws_autoscaling_group", ["create"], {"tag": blocks}, {})])) == 0
	count(denied([change("aws_autoscaling_group", ["create"], {"tag": [blocks[0]]}, {})])) == 1
}

test_unknown_tags_are_warned_of if {
	changes := [change("aws_s3_bucket", ["create"], {}, {"tags": true})]
	count(denied(changes)) == 0
	count(warned(changes)) == 2
}

test_an_unknown_value_of_a_known_tag_is_there if {
	changes := [change("aws_s3_bucket", ["create"], {"tags": {"environment": "b"}}, {"tags": {"owner": true}})]
	count(denied(changes)) == 0
	count(warned(changes)) == 0
}

test_what_carries_no_tags_needs_none if {
	count(denied([
		change("aws_iam_role_policy", ["create"], {"name": "a"}, {}),
		change("datadog_monitor", ["create"], {"tags": ["owner:a"]}, {}),
		change("random_pet", ["create"], {"tags": null}, {}),
	])) == 0
}

test_what_goes_or_stays_needs_none if {
	count(denied([
		change("aws_s3_bucket", ["delete"], null, {}),
		change("aws_s3_bucket", ["no-op"], {"tags": null}, {}),
	])) == 0
}

test_a_replacement_needs_them if {
	count(denied([change("aws_s3_bucket", ["delete", "create"], {"tags": null}, {})])) == 2
}

test_exempt_addresses if {
	changes := [change("aws_s3_bucket", ["create"], {"tags": null}, {})]
	count(required_tags.deny) == 0 with input as {"plan": {"resource_changes": changes}}
		with data.lockkeeper.config as {"required-tags": {"exempt": ["aws_s3_*"]}}
}

test_a_wrong_configuration_denies if {
	count(required_tags.deny) == 1 with input as {"plan": {"resource_changes": []}} with data.lockkeeper.config as {"required-tags": {"tags": false}}
	count(required_tags.deny) == 1 with input as {"plan": {"resource_changes": []}} with data.lockkeeper.config as {"required-tags": {"tagsx": []}}
	count(required_tags.deny) == 1 with input as {"plan": {"resource_changes": []}} with data.lockkeeper.config as {"required-tags": []}
	count(required_tags.deny) == 0 with input as {"plan": {"resource_changes": []}} with data.lockkeeper.config as {}
}

test_nulls_and_nothing_are_no_error if {
	every document in [{"plan": {}}, {"plan": {"resource_changes": null}}, {"plan": {"resource_changes": []}, "stack": {"name": "a", "labels": {}}, "pull_request": {"labels": null}}] {
		count(required_tags.deny) == 0 with input as document
	}
}

test_what_is_denied_is_not_warned_of if {
	count(warned([change("aws_s3_bucket", ["create"], {"tags": null}, {})])) == 0
}

test_a_list_of_words_is_no_set_of_tags if {
	count(denied([change("aws_thing", ["create"], {"tags": ["a", "b"]}, {})])) == 0
	count(denied([change("aws_thing", ["create"], {"tag": []}, {})])) == 2
}

test_a_value_that_is_no_word_is_missing if {
	count(denied([change("aws_s3_bucket", ["create"], {"tags": {"owner": null, "environment": "b"}}, {})])) == 1
}
