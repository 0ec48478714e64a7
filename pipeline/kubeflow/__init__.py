"""Kubeflow Pipelines v2: compiles a recipe to a pipeline, runs its steps, submits and schedules.

spec.py writes the pipeline, plan.py and step.py run in its containers, client.py talks to the API.
Only client.py needs the kfp package.
"""
