#!/usr/bin/env bash
# Everything that needs a GPU, in under 8 minutes, the most telling first; without one it is skipped. What needs one has
# not been run yet: no GPU was at hand when it was written.
#     tests/gpu/run.sh
# Without a GPU, to see that the tests themselves are sound:
#     TLSWEEP_GPU_TESTS_ON=cpu tests/gpu/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
"$python" -c 'import platform, torch
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
print(f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}, {gpu}")'
exec timeout 470 "$python" -m pytest -v --durations=20 --timeout=200 \
  tests/gpu/test_training.py tests/data/test_batches.py::test_batches_on_a_gpu_are_the_same \
  tests/gpu/test_sweeps.py
