# Describe drawn scenes with the tiny twin.
#
#   python tools/test.py configs/minigpt4/minigpt-4_tiny_caption.py
#
# Hardware: 2 CPU cores, under 1 GB of memory. Expected numbers: README.md.
_base_ = [
    'mmpretrain::_base_/default_runtime.py',
    '_base_/models/minigpt-4_tiny.py',
    '_base_/datasets/shapes.py',
]

model = dict(checkpoints=[
    'asset://tiny/vision.safetensors',
    'asset://tiny/projection.safetensors',
])

# Switched on by --show-dir and --show of the test scripts.
default_hooks = dict(
    visualization=dict(
        type='mmpretrain_minigpt4.TextVisualizationHook', enable=False))
