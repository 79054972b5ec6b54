variable "cidr" {
  type = string
}

variable "id" {
  type = string
}

variable "vpc" {
  type = object({
    id   = string
    cidr = optional(string, "default")
  })
}

variable "zones" {
  type = set(string)
}

resource "terraform_data" "taken" {
  input = {
    cidr = var.cidr
    id   = var.id
    vpc  = var.vpc
  }
}

resource "terraform_data" "zones" {
  input = var.zones
}
