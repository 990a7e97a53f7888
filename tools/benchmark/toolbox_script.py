# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Run by the Python of P3: build the toolbox's MiniGPT4 and time it.

It must not import this package, which needs a newer transformers. Its one
argument is a JSON file that ``toolbox.py`` writes, or ``--check``; its last
line of output is JSON.
"""

import json
import sys
import time
from pathlib import Path


def main(argument: str) -> dict:
    """Check that the model can be imported, or time the jobs of a file."""
    import mmpretrain
    import torch
    import transformers
    from mmpretrain.models.multimodal.minigpt4.minigpt4 import MiniGPT4
    versions = dict(
        transformers=transformers.__version__,
        mmpretrain=mmpretrain.__version__,
        torch=torch.__version__)
    if int(transformers.__version__.split('.')[0]) > 4:
        raise SystemExit(f'transformers {transformers.__version__} is too '
                         'new for it')
    if argument == '--check':
        return versions
    task = json.loads(Path(argument).read_text(encoding='utf-8'))
    torch.set_num_threads(task['threads'])
    torch.manual_seed(0)
    model = build(MiniGPT4, task)
    rows = {name: measure(model, task, job)
            for name, job in task['jobs'].items()}
    return dict(rows=rows, versions=versions)


def build(kind: type, task: dict):
    """The toolbox's model of this size, with random weights."""
    from transformers import BertConfig, LlamaConfig, LlamaForCausalLM
    dims, folder = task['dims'], Path(task['folder'])
    llm, bert = folder / 'llm', folder / 'bert'
    # It takes both from folders, with their tokenizer.
    LlamaForCausalLM(LlamaConfig(**task['llama'])).save_pretrained(llm)
    for path in Path(task['tokenizer']).glob('tokenizer*'):
        (llm / path.name).write_bytes(path.read_bytes())
    q = dims['qformer']
    BertConfig(
        hidden_size=q['width'],
        intermediate_size=q['inner'],
        num_hidden_layers=q['layers'],
        num_attention_heads=q['heads']).save_pretrained(bert)
    vision = dims['vision']
    return kind(
        vision_encoder=dict(
            type='mmpretrain.BEiTViT',
            arch=dict(
                embed_dims=vision['width'],
                num_layers=vision['layers'],
                num_heads=vision['heads'],
                feedforward_channels=vision['inner']),
            img_size=dims['img_size'],
            patch_size=dims['patch_size'],
            out_type='raw',
            use_abs_pos_emb=True,
            use_rel_pos_bias=False,
            use_shared_rel_pos_bias=False,
            layer_scale_init_value=0.0,
            frozen_stages=vision['layers'],
            final_norm=False),
        q_former_model=dict(
            type='mmpretrain.Qformer',
            model_style=str(bert),
            vision_model_width=vision['width'],
            add_cross_attention=True,
            cross_attention_freq=2,
            num_query_token=dims['queries']),
        lang_encoder=dict(
            type='mmpretrain.AutoModelForCausalLM', name_or_path=str(llm)),
        tokenizer=dict(type='mmpretrain.LlamaTokenizer',
                       name_or_path=str(llm)),
        num_query_token=dims['queries'],
        raw_prompts=dict(en=['<Img><ImageHere></Img> describe']),
        generation_cfg=dict(do_sample=False, top_p=1.0,
                            repetition_penalty=1.0)).eval()


def measure(model, task: dict, job: dict) -> list:
    """Things a second of each round, as the row's unit has it."""
    import torch
    dims, rows = task['dims'], job['batch']
    images = torch.randn(rows, 3, dims['img_size'], dims['img_size'])
    if job['kind'] == 'vision':

        def run():
            model.encode_img(images)

        return [rows / x for x in times(run, job, task['threads'])]
    # As its `predict` calls it: no mask, embeddings alone.
    embeds = torch.randn(rows, job['prompt'], dims['llm']['width'])
    new = job['new_tokens']

    def write(tokens, encode=False):

        def run():
            inputs = embeds
            if encode:
                seen, _ = model.encode_img(images)
                inputs = torch.cat((seen, embeds[:, seen.shape[1]:]), 1)
            found = model.llama_model.generate(
                inputs_embeds=inputs,
                max_new_tokens=tokens,
                eos_token_id=None,
                pad_token_id=0,
                do_sample=False)
            assert found.shape[1] == tokens, found.shape

        return run

    if job['kind'] == 'whole caption':
        return [rows / x for x in times(
            write(new, encode=True), job, task['threads'])]
    long = times(write(new), job, task['threads'])
    short = times(write(1), job, task['threads'])
    return [rows * (new - 1) / (a - b)
            for a, b in zip(long, short, strict=True)]


def times(run, job: dict, threads: int) -> list:
    """Seconds of each round, after one that does not count."""
    import torch
    clock = time.process_time if threads == 1 else time.perf_counter
    found = []
    with torch.no_grad():
        run()
        for _ in range(max(3, job['rounds'])):
            start = clock()
            run()
            found.append(clock() - start)
    return found


if __name__ == '__main__':
    print(json.dumps(main(sys.argv[1])))
