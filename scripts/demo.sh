#!/usr/bin/env bash
# Installs into .venv and emulates the plans' example in all three schemes, then a layer
# of MobileNetV2; sweeps that model and leaves the page of the sweep.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh" html
for scheme in height width block; do
    jaxdw run --channels 64 --size 8x8 --kernel 3x3 --padding 1 --scheme "$scheme"
done
jaxdw run --channels 144 --size 56x56 --kernel 3x3 --padding 1 --bias \
    --activation relu6 --scheme height
jaxdw sweep --models mobilenet_v2 --weights-dtypes bf16,bfp8 --out demo \
    --report demo/page.html
echo "open demo/page.html"
