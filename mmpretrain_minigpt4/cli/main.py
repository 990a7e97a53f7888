# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``minigpt4``: the commands and their options."""

import argparse
import sys
from collections.abc import Sequence

from .. import __version__
from .exit_codes import EXIT_CODES, run_command
from .inputs import positive
from .options import CAPTION_MODEL, PROGRAM, VQA_MODEL, add_precision


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        argv: The words after the program's name; those of the process if
            None.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] in (['train'], ['test']):
        from . import scripts
        return getattr(scripts, argv[0])(argv[1:])
    args = _parse(argv)
    return run_command(lambda: _run(args), PROGRAM)


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse; options may stand between the images.

    argparse alone takes the words before the first option as all there is.
    """
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if any(word.startswith('-') for word in rest) or (
            rest and not hasattr(args, 'images')):
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    if rest and hasattr(args, 'question'):
        *more, args.question = [args.question, *rest]
        args.images += more
    elif rest:
        args.images += rest
    return args


def _run(args: argparse.Namespace) -> int:
    if args.command == 'data':
        from . import data
        return getattr(data, args.job)(args)
    if args.command == 'eval':
        from . import eval as evaluation
        return evaluation.run(args)
    if args.command in ('cache-features', 'merge-lora'):
        from . import cache, merge
        job = args.command.replace('-', '_')
        return getattr(cache if 'cache' in job else merge, job)(args)
    if args.command == 'plan':
        from . import plan
        return plan.run(args)
    from . import infer
    return getattr(infer, args.command)(args)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description='Describe images, and answer questions about them.',
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--version', action='version', version=f'{PROGRAM} {__version__}')
    commands = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True)

    caption = _command(
        commands, 'caption', 'describe images',
        'Print a description of each image.\n\nOne image gives the '
        'description alone, several give the image, a tab\nand the '
        'description, one a line.')
    _add_images(caption)
    caption.add_argument(
        '--prompt',
        metavar='TEXT',
        help="what to say to the model (default: the model's own)")
    _add_model(caption, CAPTION_MODEL)
    _add_output(caption)

    ask = _command(
        commands, 'ask', 'answer a question about images',
        'Print the answer to a question about each image.\n\nThe last word '
        'is the question; quote it.')
    _add_images(ask)
    ask.add_argument('question', metavar='QUESTION', help='the question')
    _add_model(ask, VQA_MODEL)
    _add_output(ask)

    models = _command(
        commands, 'models', 'list the models',
        'Print the models, their tasks and parameters, and whether their '
        'weights\ncome with the package.')
    models.add_argument(
        '--json', action='store_true', help='one JSON object a line')

    from . import cache, merge, plan
    from . import eval as evaluation
    from .data import add_parser
    add_parser(commands, EXIT_CODES)
    evaluation.add_parser(commands, EXIT_CODES)
    cache.add_parser(commands, EXIT_CODES)
    plan.add_parser(commands, EXIT_CODES)
    merge.add_parser(commands, EXIT_CODES)

    # Dispatched before this parser sees them; listed for the help.
    for name in ('train', 'test'):
        commands.add_parser(
            name,
            add_help=False,
            help=f'{name} a model from a config (as tools/{name}.py)')
    return parser


def _command(commands, name: str, summary: str,
             description: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter)


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'images',
        nargs='+',
        metavar='IMAGE',
        help='image file, folder, pattern ("photos/**/*.jpg"), data URI, or '
        '- for the standard input')
    parser.add_argument(
        '-r',
        '--recursive',
        action='store_true',
        help='also look into the folders inside a folder')


def _add_model(parser: argparse.ArgumentParser, default: str) -> None:
    model = parser.add_argument_group('model')
    model.add_argument(
        '--model',
        metavar='NAME',
        help=f'a name that `{PROGRAM} models` lists, or a config file '
        f'(default: {default}, which knows drawn scenes of coloured shapes '
        'only)')
    model.add_argument(
        '--llm',
        metavar='DIR',
        help='folder of the language model, for models that do not ship it')
    model.add_argument(
        '--weights',
        metavar='DIR',
        help='folder of the other weights; nothing is fetched then')
    model.add_argument(
        '--checkpoint',
        metavar='FILE',
        help="weights of your own, over the model's; may hold only what was "
        'trained')
    model.add_argument(
        '--device',
        metavar='NAME',
        help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')
    add_precision(model)
    model.add_argument(
        '--batch-size',
        type=positive,
        default=8,
        metavar='N',
        help='images answered at once (default: %(default)s)')

    decoding = parser.add_argument_group(
        'decoding', "without these, the model's own settings hold")
    decoding.add_argument('--max-new-tokens', type=int, metavar='N')
    decoding.add_argument('--num-beams', type=int, metavar='N')
    decoding.add_argument(
        '--sample',
        action='store_true',
        dest='do_sample',
        default=None,
        help='draw words rather than take the likeliest')
    decoding.add_argument('--temperature', type=float, metavar='T')
    decoding.add_argument('--top-p', type=float, metavar='P')
    decoding.add_argument('--repetition-penalty', type=float, metavar='X')
    decoding.add_argument(
        '--seed', type=int, metavar='N', help='makes --sample repeatable')


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group('output')
    output.add_argument(
        '--json',
        action='store_true',
        help='one JSON object a line, failed images included')
    output.add_argument(
        '-q',
        '--quiet',
        action='store_true',
        help='no notice of the default model and no progress bar')
