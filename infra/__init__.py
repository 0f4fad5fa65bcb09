"""What a stage needs on AWS, and the commands that make, deploy and remove it.

`provision`, `deploy` and `destroy` are the verbs; each is a function and a `python -m` command.
None of this is shipped to Lambda.
"""
