# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What to do about checkpoints that do not fit, in plain words."""

import re
from collections.abc import Iterable

from .report import LoadReport

# Source: the widths of the language models MiniGPT-4 was released for.
LLM_WIDTHS = {4096: 'Vicuna-7B or Llama-2-7B', 5120: 'Vicuna-13B'}
INPUT_WIDTHS = {
    768: 'the Q-Former (768 wide)',
    5632: 'merged patches of the Llama-2 variant (5632 wide)',
}

# Which published file holds a part.
HOLDERS = {
    'projector.':
    'the projection; add the file that was trained for your language model '
    '(pretrained_minigpt4*.pth, minigpt-4_linear-projection_*.pth, or what '
    'your own training saved)',
    'neck.':
    'the Q-Former; add a BLIP-2 file (blip2_pretrained_flant5xxl.pth, '
    'minigpt-4_qformer_*.pth, or Salesforce/blip2-flan-t5-xxl)',
    'backbone.ln_vision.':
    "the vision tower's last norm (ln_vision), which lies in BLIP-2 files "
    'and not in EVA ones; add blip2_pretrained_flant5xxl.pth, '
    'minigpt-4_qformer_*.pth, or Salesforce/blip2-flan-t5-xxl',
    'backbone.':
    'the vision tower; add an EVA-ViT-g file (eva_vit_g.pth, '
    'minigpt-4_eva-g-p14_*.pth, or Salesforce/blip2-flan-t5-xxl)',
    'head.llm.':
    'the language model; give its folder as `llm`',
}


def hints(report: LoadReport, model_keys: set[str]) -> list[str]:
    """A sentence for each likely cause of what a report found."""
    return (_shape_hints(report) + _lora_hints(report)
            + _block_hints(report, model_keys)
            + _missing_hints(report, model_keys))


def _width(table: dict[int, str], width: int) -> str:
    return table.get(width, f'something {width} wide')


def _shape_hints(report: LoadReport) -> list[str]:
    lines = []
    for key, got, wanted in report.wrong_shapes:
        if re.fullmatch(r'projector\.layers\.\d+\.weight', key) \
                and len(got) == 2:
            if got[0] != wanted[0]:
                lines.append(
                    'The projection in the file leads to a language model '
                    f'{got[0]} wide ({LLM_WIDTHS.get(got[0], "unknown")}) '
                    f'and this model has one {wanted[0]} wide '
                    f'({LLM_WIDTHS.get(wanted[0], "unknown")}): take the '
                    'projection that was trained for your language model, or '
                    'the config of the other.')
            if got[1] != wanted[1]:
                lines.append(
                    'The projection in the file starts from '
                    f'{_width(INPUT_WIDTHS, got[1])} and this model gives it '
                    f'{_width(INPUT_WIDTHS, wanted[1])}: take the config of '
                    'the variant that the file belongs to.')
        elif key == 'backbone.pos_embed':
            lines.append(
                'The positions in the file are not those of a square image '
                "of this ViT's width, so they cannot be stretched to its "
                'img_size.')
        elif key.endswith('embed_tokens.weight'):
            lines.append(
                'The language model in the file has [words, width] '
                f'{list(got)} and this one {list(wanted)}: they are not the '
                'same model.')
    return lines


def _lora_hints(report: LoadReport) -> list[str]:
    lines = []
    if any('.lora_' in key for key in report.unexpected):
        lines.append(
            'The file holds LoRA weights for layers that have none in this '
            'model: give model.lora the settings of the training (r, alpha, '
            'target_modules), or merge them into the language model by '
            '`minigpt4 merge-lora`.')
    for key, got, _ in report.wrong_shapes:
        if '.lora_A.' in key:
            lines.append(f'The LoRA in the file has rank {got[0]}: set '
                         f'model.lora.r={got[0]}.')
            break
    return lines


def _depth(keys: Iterable[str], pattern: str) -> int:
    """How many layers the keys speak of."""
    found = (re.match(pattern, key) for key in keys)
    return max((int(match.group(1)) + 1 for match in found if match),
               default=0)


def _block_hints(report: LoadReport, model_keys: set[str]) -> list[str]:
    lines = []
    for part, pattern in (('ViT', r'backbone\.blocks\.(\d+)\.'),
                          ('Q-Former', r'neck\.layers\.(\d+)\.')):
        mine = _depth(model_keys, pattern)
        theirs = _depth([*report.sources, *report.unexpected], pattern)
        if mine and theirs and mine != theirs:
            line = (f'The {part} in the file has {theirs} blocks and this '
                    f'model has {mine}')
            if (theirs, mine) == (40, 39):
                line += (": MiniGPT-4 leaves out EVA's last block, so remove "
                         'backbone.blocks.39.* from the file')
            lines.append(line + '.')
    return lines


def _missing_hints(report: LoadReport, model_keys: set[str]) -> list[str]:
    """Name the file to add for each part that is missing as a whole."""
    lines = []
    missing = set(report.missing)
    for prefix, holder in HOLDERS.items():
        wanted = {key for key in model_keys if key.startswith(prefix)}
        if prefix == 'backbone.':
            wanted = {k for k in wanted if '.ln_vision.' not in k}
        if wanted and wanted <= missing:
            lines.append(f'No file holds {holder}.')
    return lines
