# In place of the versions that Chalice asks for: it wants Terraform before 1.4 and the AWS provider
# before 5, which no longer get fixes. Its resources have the same arguments in provider 5; provider
# 6 took away stage_name of aws_api_gateway_deployment, which they use.
terraform {
  required_version = ">= 1.4, < 2.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0, < 6.0"
    }
    null = {
      source  = "hashicorp/null"
      version = ">= 3.0, < 4.0"
    }
  }
}
