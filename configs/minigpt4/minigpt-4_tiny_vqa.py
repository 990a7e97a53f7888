# Answer questions about drawn scenes with the tiny twin.
#
#   python tools/test.py configs/minigpt4/minigpt-4_tiny_vqa.py
#
# Hardware: 2 CPU cores, under 1 GB of memory. Expected numbers: README.md.
_base_ = ['minigpt-4_tiny_caption.py']

model = dict(head=dict(task='vqa', generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(content='question', questions_per_scene=2))
test_evaluator = dict(
    _delete_=True, type='mmpretrain_minigpt4.ShapesQuestions')
