#!/bin/sh
# Train the pocket prior on one GPU, in about ten minutes, and export it:
#
#     sh training/gpu.sh PHOTOS WORK OUTPUT [OPTION...]
#
# PHOTOS is a folder of .jpg photographs, WORK is for checkpoints, OUTPUT for the prior. Options
# win over those written here: `--device cpu --seconds 20 --batch 4 --threads 1` is a trial.
set -eu
photos=$1 work=$2 output=$3
shift 3

pocket() {
    date +%T
    "${PYTHON:-python3}" "$(dirname "$0")/pocket.py" "$@"
}

train() {
    network=$1
    shift
    pocket "$network" --photos "$photos" --work "$work" --device cuda --threads 16 \
        --save-every 1000 --compile "$@"
}

case " $* " in # the autoencoder of a prior to start from is kept as it is
*" --start"*) ;;
*) train autoencoder --seconds 140 --batch 256 --crop 128 --rate 4e-4 --latents 64 --channels 128 "$@" ;;
esac
train unet --seconds 350 --batch 128 --crop 256 --rate 1e-3 --widths 144 128 --layers 2 "$@"
pocket export --work "$work" --output "$output" "$@"
date +%T
