terraform {
  backend "local" {}
}

variable "cidr" {
  type    = string
  default = "10.20.0.0/16"
}

resource "terraform_data" "vpc" {
  input = { cidr = var.cidr }
}

resource "terraform_data" "subnet" {
  for_each = { a = 0, b = 1, c = 2 }
  input = {
    vpc  = terraform_data.vpc.output.cidr
    zone = "eu-${each.key}"
    cidr = cidrsubnet(var.cidr, 4, each.value)
  }
}

output "subnets" {
  value = { for zone, subnet in terraform_data.subnet : zone => subnet.input.cidr }
}
