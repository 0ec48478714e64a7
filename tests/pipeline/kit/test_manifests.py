"""What Kubernetes and Docker start: manifests that hang together, and a script."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ncs4cvr.pipeline.serving import serving_kit
from ncs4cvr.pipeline.serving.serving_kit import IMAGE

pytestmark = pytest.mark.filterwarnings("ignore")


def manifest(kit: Path, wanted: tuple[str, str]) -> dict:
    (found,) = [m for m in manifests(kit) if (m["kind"], m["metadata"]["name"]) == wanted]
    return found


def manifests(kit: Path) -> list[dict]:
    """What `kubectl apply -k` would read."""
    kustomization = yaml.safe_load((kit / "kustomization.yaml").read_text())
    return [
        document
        for path in kustomization["resources"]
        for document in yaml.safe_load_all((kit / path).read_text())
    ]


def container(kit: Path) -> dict:
    (deployment,) = [m for m in manifests(kit) if m["kind"] == "Deployment"]
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def test_every_manifest_has_its_kind_and_current_api_version(run, write):
    kinds = {(m["apiVersion"], m["kind"], m["metadata"]["name"]) for m in manifests(write(run))}
    assert kinds == {
        ("apps/v1", "Deployment", "ncs4cvr"),
        ("v1", "Service", "ncs4cvr"),
        ("v1", "Service", "ncs4cvr-pods"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "ncs4cvr"),
    }


def test_selectors_match_the_pods(run, write):
    kit = write(run, "--name", "feed")
    deployment = manifest(kit, ("Deployment", "feed"))["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    for name in ("feed", "feed-pods"):
        assert manifest(kit, ("Service", name))["spec"]["selector"].items() <= labels.items()
    target = manifest(kit, ("HorizontalPodAutoscaler", "feed"))["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "feed"}
    # With both, they would fight over the number of pods.
    assert "replicas" not in deployment


def test_services_and_probes_name_ports_that_the_container_has(run, write):
    kit = write(run)
    serving = container(kit)
    ports = {port["name"]: port["containerPort"] for port in serving["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    for name in ("ncs4cvr", "ncs4cvr-pods"):
        for port in manifest(kit, ("Service", name))["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert serving[probe]["httpGet"]["port"] == "rest"


def test_a_pod_is_ready_when_the_stable_version_answers(run, write):
    # The regular expression of TF Serving's REST API (http_rest_api_util.cc).
    api = re.compile(
        r"/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:\/(metadata))?"
    )
    serving = container(write(run, "--name", "feed", "--stable", 7))
    for probe in ("startupProbe", "readinessProbe"):
        path = serving[probe]["httpGet"]["path"]
        assert api.fullmatch(path).groups() == ("feed", None, "stable", "metadata")
    assert api.fullmatch(serving["livenessProbe"]["httpGet"]["path"]).groups()[0] == "feed"


def test_every_mount_has_its_volume_and_every_file_its_mount(run, write):
    kit = write(run)
    pod = manifest(kit, ("Deployment", "ncs4cvr"))["spec"]["template"]["spec"]
    mounts = {m["name"]: m["mountPath"] for m in container(kit)["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    config = (kit / "config/models.config").read_text()
    assert f'base_path: "{mounts["models"]}/' in config
    (generated,) = yaml.safe_load((kit / "kustomization.yaml").read_text())["configMapGenerator"]
    (volume,) = [v["configMap"] for v in pod["volumes"] if v["name"] == "config"]
    assert generated["name"] == volume["name"]
    files = {f"{mounts['config']}/{Path(path).name}" for path in generated["files"]}
    assert all((kit / path).is_file() for path in generated["files"])
    for flag in container(write(run, "--batching"))["args"]:
        option, _, value = flag.partition("=")
        assert not option.endswith("_file") or value in files


def test_the_autoscaler_has_the_request_that_it_divides_by(run, write):
    kit = write(run, "--cpus", 6)
    scaler = manifest(kit, ("HorizontalPodAutoscaler", "ncs4cvr"))["spec"]
    assert scaler["metrics"][0]["resource"]["name"] == "cpu"
    assert container(kit)["resources"]["requests"]["cpu"] == "6"
    assert 1 < scaler["minReplicas"] < scaler["maxReplicas"]


def test_a_pod_outlives_its_drain(run, write):
    pod = manifest(write(run), ("Deployment", "ncs4cvr"))["spec"]["template"]["spec"]
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert int(command[1]) < pod["terminationGracePeriodSeconds"]


def test_the_image_is_pinned_once(run, write):
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", IMAGE)
    kit = write(run)
    assert container(kit)["image"] == IMAGE
    assert f"  {IMAGE} \\\n" in (kit / "start.sh").read_text()
    package = Path(serving_kit.__file__).parent
    holders = [
        path.name
        for path in package.rglob("*")
        if path.suffix in (".py", ".sh", ".yaml", ".md")
        and "tensorflow/serving:" in path.read_text()
    ]
    assert holders == ["serving_kit.py"]


def test_batching_is_on_only_where_asked_for(run, write):
    flag = "--batching_parameters_file=/config/batching.config"
    kit = write(run)
    assert flag not in container(kit)["args"]
    assert flag not in (kit / "start.sh").read_text()
    kit = write(run, "--batching")
    assert {"--enable_batching=true", flag} <= set(container(kit)["args"])
    assert flag in (kit / "start.sh").read_text()


def test_memory_is_from_what_was_measured(run, write):
    # 100 MiB a version: 512 + 2 * 100 -> 768, and with two versions 512 + 400 -> 1024.
    assert container(write(run))["resources"]["limits"]["memory"] == "768Mi"
    two = container(write(run, "--stable", 7, "--canary", 12))
    assert two["resources"]["requests"]["memory"] == "1024Mi"


@pytest.mark.parametrize("given", [(), ("other folder",)])
def test_the_script_calls_docker_with_folders_that_exist(run, tmp_path, given, write):
    kit = write(run, "--batching")
    (tmp_path / "other folder").mkdir()
    fake = tmp_path / "bin/docker"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor each; do printf "%s\\n" "$each"; done\n')
    fake.chmod(0o755)
    done = subprocess.run(
        [str(kit / "start.sh"), *given],
        env={**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    arguments = done.stdout.splitlines()
    assert arguments[:2] == ["run", "--rm"]
    models, config = (arguments[i + 1] for i, a in enumerate(arguments) if a == "-v")
    serving = tmp_path / given[0] if given else run / "serving"
    assert models == f"{serving}:/models/ncs4cvr:ro"
    assert config == f"{kit}/config:/config:ro"
    # What follows the image goes to the server, as in the Deployment.
    assert arguments[arguments.index(IMAGE) + 1 :] == container(kit)["args"]
