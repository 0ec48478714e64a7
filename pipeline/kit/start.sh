#!/bin/sh
# Starts TF Serving on this machine: gRPC on port 8500, REST on port 8501.
#   ./start.sh [SERVING_DIR]     the folder with the numbered versions
# To serve another version: write the kit anew and start this again.
set -eu
kit=$$(cd "$$(dirname "$$0")" && pwd)
pushed=${serving}
serving=$$(cd "$${1:-$$pushed}" && pwd)
exec docker run --rm --name ${name}-serving \
  --memory ${memory_mib}m \
  -p 8500:8500 -p 8501:8501 \
  -v "$$serving:${base_path}:ro" \
  -v "$$kit/config:/config:ro" \
  ${image} \
  ${flags_sh}
