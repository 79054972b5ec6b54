terraform {
  backend "local" {}
}

variable "cluster_endpoint" {
  type = string
}

resource "terraform_data" "release" {
  input = {
    image    = "registry.example/shop:1.4.2"
    replicas = 3
    cluster  = var.cluster_endpoint
  }
}
