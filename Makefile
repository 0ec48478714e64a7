# Each command makes .venv first if it is missing or out of date; STACK=1.16|1.21 chooses the TFX.
#
#   make run      the default recipe on the bundled data; ARGS="..." goes to `ncs4cvr run`
#   make test     unit tests               make e2e      whole pipelines, servers, workers
#   make faults   breaks runs in all ways; writes docs/reliability.md
#   make nightly  50,000 malformed rows through all readers
#   make messages provokes every error; writes docs/messages.md
#   make check    format, lint, types, import directions, security
#   make sbom     build/sbom: bills of materials of .venv and of the lock files (CycloneDX)
#   make format   put the format right     make lock     compile the lock files anew
#   make kubeflow .venv-kubeflow, where `ncs4cvr submit` and `schedule` find kfp
#   make image-check   builds the Dockerfile and runs it, without Docker (tests/compat)
#   make clean    remove .venv, runs/, caches and build output; the data stays

bin := .venv/bin
folders := schemas models components pipeline
packages := $(folders:%=ncs4cvr.%)

.PHONY: env kubeflow tools run test e2e faults nightly messages image-check check sbom format lock \
	clean
.DEFAULT_GOAL := env

env:
	@requirements/setup.sh

# Beside .venv, since kfp and TFX 1.16 want different protobufs; ncs4cvr is there without TFX.
kubeflow: env .venv-kubeflow/bin/ncs4cvr

.venv-kubeflow/bin/ncs4cvr: requirements/kubeflow.txt setup.py
	@uv=$$(requirements/setup.sh --uv) && export VIRTUAL_ENV=$$PWD/.venv-kubeflow UV_NO_PROGRESS=1 && \
	$$uv venv --quiet --clear --python .venv/bin/python .venv-kubeflow && \
	$$uv pip sync --quiet --require-hashes requirements/kubeflow.txt && \
	$$uv pip install --quiet --no-deps --no-build-isolation --editable . && touch $@

# Beside .venv, too: what looks at the project needs packages that the project does not.
tools: env .venv-tools/bin/bandit

.venv-tools/bin/bandit: requirements/tools.txt
	@uv=$$(requirements/setup.sh --uv) && export VIRTUAL_ENV=$$PWD/.venv-tools UV_NO_PROGRESS=1 && \
	$$uv venv --quiet --clear --python .venv/bin/python .venv-tools && \
	$$uv pip sync --quiet --require-hashes requirements/tools.txt && touch $@

run: env
	$(bin)/ncs4cvr run $(ARGS)

# Two at a time, a file's tests by one process: its fixtures are runs of pipelines.
test: env
	$(bin)/pytest --numprocesses 2 --dist loadfile -m "not e2e and not bench and not faults" $(ARGS)

# Only the server in tests/serving needs Node, with 310 MB of packages: without, it is skipped.
e2e: env
	@if command -v npm; then npm --prefix tests/serving/node ci --ignore-scripts --no-audit --no-fund; \
	else echo "no npm on PATH: the tests of the server in Node will be skipped"; fi
	$(bin)/pytest tests/e2e tests/serving tests/models/together/test_together.py $(ARGS)

faults: env
	$(bin)/pytest -m faults tests/faults --table docs/reliability.md $(ARGS)

image-check:
	tests/compat/image-in-trixie $(ARGS)

nightly: env
	NCS4CVR_HOSTILE_ROWS=50000 $(bin)/pytest tests/components/log/test_hostile_rows.py $(ARGS)

messages: env
	$(bin)/pytest tests/pipeline/test_messages.py --messages docs/messages.md $(ARGS)

check: env tools
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	@# setuptools' editable install is an import hook, which mypy cannot follow: show it the layout.
	@mkdir -p .venv/typing/ncs4cvr
	@$(foreach f,$(folders),ln -sfn ../../../$(f) .venv/typing/ncs4cvr/$(f);)
	$(bin)/mypy $(packages:%=-p %)
	$(bin)/pytest -q tests/test_imports.py
	.venv-tools/bin/bandit --quiet --configfile pyproject.toml --recursive $(folders)

# Each is validated against the schema of CycloneDX before it is written. The environment's has
# licences and who needs whom, the lock files' the hashes that an installation must have.
bom := --spec-version 1.6 --output-reproducible --output-format JSON --validate --output-file
sbom: env tools
	mkdir -p build/sbom
	.venv-tools/bin/cyclonedx-py environment $(bom) build/sbom/environment.cdx.json $(bin)/python
	for lock in tfx-1.16 tfx-1.21 image kubeflow tools; do .venv-tools/bin/cyclonedx-py requirements \
	  $(bom) build/sbom/$$lock.cdx.json requirements/$$lock.txt || exit 1; done

format: env
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

# The 1.16 lock is for the oldest glibc that its wheels run on. 1.21 would take release candidates
# of Beam on Python 3.10; on 1.16 Beam's own dependencies need a pre-release. The image's is a part of
# 1.21's, with another TensorFlow.
compile := $$(requirements/setup.sh --uv) pip compile --quiet --upgrade --generate-hashes --no-header \
	--no-annotate --no-emit-index-url --python-version
extras := --extra bench --extra dev --extra test
lock:
	$(compile) 3.10 setup.py $(extras) requirements/tfx-1.16.in -o requirements/tfx-1.16.txt \
		--python-platform x86_64-manylinux_2_17
	$(compile) 3.10 setup.py $(extras) --extra kubeflow requirements/tfx-1.21.in \
		-o requirements/tfx-1.21.txt --universal --prerelease disallow
	echo tensorflow | $(compile) 3.13 setup.py --extra kubeflow requirements/image.in \
		-o requirements/image.txt --python-platform x86_64-manylinux_2_39 \
		--constraints requirements/tfx-1.21.txt --excludes -
	$(compile) 3.10 requirements/kubeflow.in -o requirements/kubeflow.txt --universal
	$(compile) 3.10 --no-config requirements/tools.in -o requirements/tools.txt --universal
	$(compile) 3.10 --no-config requirements/uv.in -o requirements/uv.txt --universal

clean:
	rm -rf .venv .venv-kubeflow .venv-tools .uv .uv.log runs build dist *.egg-info .hypothesis .mypy_cache \
	  .pytest_cache .ruff_cache tests/serving/node/node_modules
	find $(folders) tests -type d -name __pycache__ -prune -exec rm -rf {} +
