# A plan destroys few things, and nothing that holds data, unless a label on the pull request says it may.
#
# A replacement counts: its old object is destroyed. Removing a resource from the state (`removed` with
# `destroy = false`) does not.
#
# data.lockkeeper.config["destroy-limit"]:
#   limit:      how many managed resources one plan may destroy     5
#   protected:  globs of resource types of which none may go        databases, buckets, disks, keys … (below)
#   label:      the pull request's label that turns deny into warn  "allow-destroy"
# The stack's own label `destroy-limit: "20"` (in `lockkeeper.yaml` at base) stands over `limit`.
package lockkeeper.plan.destroy_limit

import data.lockkeeper.lib

defaults := {
	"limit": 5,
	"label": "allow-destroy",
	"protected": [
		"aws_db_*", "aws_rds_*", "aws_dynamodb_table", "aws_s3_bucket", "aws_efs_file_system", "aws_ebs_volume",
		"aws_elasticache_*", "aws_redshift_*", "aws_opensearch_domain", "aws_kms_key", "aws_secretsmanager_secret",
		"aws_backup_vault", "aws_route53_zone", "aws_eks_cluster", "google_sql_*", "google_storage_bucket",
		"google_bigquery_dataset", "google_bigquery_table", "google_compute_disk", "google_spanner_*",
		"google_bigtable_*", "google_filestore_*", "google_kms_*", "google_dns_managed_zone", "google_container_cluster",
		"azurerm_mssql_*", "azurerm_postgresql_*", "azurerm_mysql_*", "azurerm_cosmosdb_*", "azurerm_storage_account",
		"azurerm_managed_disk", "azurerm_key_vault", "azurerm_dns_zone", "azurerm_kubernetes_cluster",
		"azurerm_resource_group",
	],
}

config := lib.config("destroy-limit", defaults)

deny contains {"msg": problem} if some problem in lib.misconfigured("destroy-limit", defaults)

limit := to_number(input.stack.labels["destroy-limit"]) if {
	regex.match(`^[0-9]{1,6}$`, input.stack.labels["destroy-limit"])
} else := config.limit

deny contains objection if {
	some objection in objections
	not lib.has_label(config.label)
}

warn contains objection if {
	some objection in objections
	lib.has_label(config.label)
}

objections contains {"msg": sprintf("this plan destroys %d resources, more than %d; if that is meant, label the pull request `%s`", [count(lib.destroyed), limit, config.label])} if {
	count(lib.destroyed) > limit
}

objections contains {"msg": sprintf("%s holds data or names and would be destroyed; if that is meant, label the pull request `%s`", [change.address, config.label]), "address": change.address} if {
	some change in lib.destroyed
	lib.matches(change.type, config.protected)
}
