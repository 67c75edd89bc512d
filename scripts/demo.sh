#!/usr/bin/env bash
# Installs into .venv, emulates four layers and sweeps a network: what to make of each is
# said above it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh" html
say() { printf '\n=== %s\n' "$@"; }
emulate() { jaxdw run "$@" | sed -n '/^FINDING/p; /^Against float64/,$p'; }
layer=(--channels 64 --size 8x8 --kernel 3x3 --padding 1)

say "1 of 5: HEIGHT. The layer that was recorded on a chip; PCC there was 0.9998, too."
emulate "${layer[@]}" --scheme height
say "2 of 5: WIDTH. Each core has half of the channels; other cores, the same numbers."
emulate "${layer[@]}" --scheme width
say "3 of 5: WIDTH with weights laid out as an older revision did: FAIL, and why."
emulate "${layer[@]}" --scheme width --weight-layout concatenated || [ $? = 1 ]
say "4 of 5: a layer of MobileNetV2. It passes here, but its cores fill no rectangle:
    the chip would overwrite idle ones, as the finding says."
emulate --channels 144 --size 56x56 --padding 1 --bias --activation relu6
say "5 of 5: all of MobileNetV2 in three schemes: a star marks each layer's best."
jaxdw sweep --models mobilenet_v2 --out demo --html demo/page.html
say "Now open demo/page.html: best plans, what does not fit, what is wrong upstream."
