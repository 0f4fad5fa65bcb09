# What holds the state of the stage, and its alarms: the very templates that `make provision` uses,
# so there is no second list of resources. Chalice's part is in chalice.tf.json, and what a
# deployment sets after it in after.tf.json.

variable "stage" {
  description = "The stage that this module was written for."
  type        = string
}

variable "parameters" {
  description = "The parameters of resources.yaml, as `make provision` computes them."
  type        = map(string)
}

resource "aws_cloudformation_stack" "resources" {
  name          = "eventline-${var.stage}-resources"
  template_body = file("${path.module}/resources.yaml")
  parameters    = var.parameters
  tags = {
    project = "eventline"
    stage   = var.stage
  }
}

resource "aws_cloudformation_stack" "alarms" {
  name          = "eventline-${var.stage}-alarms"
  template_body = file("${path.module}/alarms.yaml")
  # For the loops of the template, which CloudFormation expands with a transform of its own.
  capabilities = ["CAPABILITY_AUTO_EXPAND"]
  parameters = {
    Stage         = var.stage
    AlertTopicArn = aws_cloudformation_stack.resources.outputs["AlertTopicArn"]
  }
  tags = {
    project = "eventline"
    stage   = var.stage
  }
}
