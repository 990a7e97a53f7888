# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The only file that changes the toolbox, one named patch for each reason.

MMPretrain 1.2 and MMEngine 0.10 are no longer developed, so what breaks on
today's PyTorch and transformers is mended here. ``install`` imports nothing:
it puts a finder on ``sys.meta_path`` that waits for the module a patch is
for, and patches it while it is being imported. Modules that are there already
are patched at once, so the order of imports does not matter, but for one
case: where torchvision does not fit PyTorch, an import that fails *before*
this package is imported has failed in the user's own code.

Each patch names its module, why it is there, when it acts and when it can
go; ``tests/test_upstream.py`` fails once a patch is no longer needed.
"""

import functools
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType


class Patch:
    """One change to a module of another package.

    Subclasses override :meth:`around`, which is entered before the module's
    code runs and left after it, and may override :meth:`late`, for a module
    that was imported before this package.

    Attributes:
        modules: Full names of the modules to change.
        reason: What breaks without the patch.
        until: When the patch can be deleted.
    """

    modules: tuple[str, ...] = ()
    reason: str = ''
    until: str = ''

    def around(self, module: ModuleType) -> Iterator[None]:
        """Run code before and after the module's own (a generator)."""
        yield
        self.late(module)

    def late(self, module: ModuleType) -> None:
        """Mend a module whose own code has already run."""


class TorchvisionSchemas(Patch):
    """Name torchvision's two operators where its extension does not load."""

    modules = ('torchvision.extension', )
    reason = (
        'torchvision from the package index is a CUDA build. Beside a CPU '
        'build of torch its extension does not load, and its import then '
        'fails ("operator torchvision::nms does not exist"), and with it '
        'mmpretrain and most of transformers. Nothing here calls the '
        'operators; their names are enough.')
    until = 'torchvision imports without its extension.'

    # A library's definitions live as long as the object that made them.
    _library = None

    def late(self, module: ModuleType) -> None:
        if module._has_ops() or self._library is not None:
            return
        import torch
        library = torch.library.Library('torchvision', 'FRAGMENT')
        arguments = '(Tensor dets, Tensor scores, float iou_threshold)'
        for name in ('nms', 'qnms'):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f'{name}{arguments} -> Tensor')
        TorchvisionSchemas._library = library


class NoToolboxMultimodalModels(Patch):
    """Let mmpretrain register placeholders for its own multimodal models."""

    modules = ('mmpretrain.models.utils', 'mmpretrain.models.multimodal')
    reason = (
        'The BLIP, OFA and MiniGPT-4 code of mmpretrain 1.2 subclasses what '
        'transformers 4.52 and later no longer has, so that '
        '`import mmpretrain.models` fails. With its switch off in these two '
        'modules, and only there, everything else is registered; the '
        'datasets keep theirs, which need pycocotools alone.')
    until = 'mmpretrain.models imports with transformers 5.'

    def around(self, module: ModuleType) -> Iterator[None]:
        if not self.needed():
            yield
            return
        from mmpretrain.utils import dependency
        before = dependency.WITH_MULTIMODAL
        dependency.WITH_MULTIMODAL = False
        try:
            yield
        finally:
            dependency.WITH_MULTIMODAL = before

    @staticmethod
    def needed() -> bool:
        """Whether the transformers installed is one that mmpretrain breaks."""
        try:
            version = importlib.metadata.version('transformers')
        except importlib.metadata.PackageNotFoundError:
            return False
        major, minor = (int(x) for x in version.split('.')[:2])
        return (major, minor) >= (4, 52)


class OwnModels(Patch):
    """Put the package's models into the toolbox's hub and ``get_model``."""

    modules = ('mmpretrain.apis.model', )
    reason = (
        'Reading the 548 entries of the toolbox takes about a second, and a '
        'name that is registered twice breaks the hub, so ours follow its '
        'own, once, in place of its two MiniGPT-4 entries, which cannot be '
        'built. Its `get_model` fills a model with random numbers and then '
        'loads one file, loosely; ours are built empty and filled from all '
        'their files.')
    until = 'mmpretrain finds the models of plugins by itself.'

    def late(self, module: ModuleType) -> None:
        from . import zoo
        hub, original = module.ModelHub, module.get_model
        register = hub._register_mmpretrain_models

        def register_all(cls) -> None:
            register()
            zoo.register(cls)

        @functools.wraps(original)
        def get_model(model,
                      pretrained=False,
                      device=None,
                      device_map=None,
                      offload_folder=None,
                      url_mapping=None,
                      **kwargs):
            if zoo.is_own_model(model):
                zoo.check_device(device)
                kwargs = zoo.settings(model, pretrained, url_mapping, **kwargs)
                pretrained = False
            return original(model, pretrained, device, device_map,
                            offload_folder, url_mapping, **kwargs)

        hub._register_mmpretrain_models = classmethod(register_all)
        # Where it was imported from here already, there as well.
        for other in [module, *sys.modules.values()]:
            if getattr(other, '__dict__', {}).get('get_model') is original:
                other.get_model = get_model


class OwnInferencers(Patch):
    """Let the toolbox's inferencers become ours for a model of ours."""

    modules = ('mmpretrain.apis.image_caption',
               'mmpretrain.apis.visual_question_answering')
    reason = (
        "The toolbox's inferencers take no prompt and no decoding option, "
        'and read images in their own way. Asked for a model of this '
        'package they make an object of the subclass that does; this goes '
        'for `inference_model` too, which calls them.')
    until = 'mmpretrain lets a plugin name the inferencer of a model.'

    names = {
        'ImageCaptionInferencer': 'CaptionInferencer',
        'VisualQuestionAnsweringInferencer': 'VQAInferencer',
    }

    def late(self, module: ModuleType) -> None:
        for name, own_name in self.names.items():
            inferencer = vars(module).get(name)
            if inferencer is not None:
                self._divert(inferencer, own_name)

    @staticmethod
    def _divert(inferencer: type, own_name: str) -> None:

        def __new__(cls, model=None, *args, **kwargs):
            if cls is inferencer:
                from . import zoo
                if zoo.is_own_model(model):
                    from . import apis
                    cls = getattr(apis, own_name)
            return object.__new__(cls)

        # `inference_model` sorts its arguments by the class's signature,
        # which is now that of `__new__`: the old one, and what ours add.
        signature = inspect.signature(inferencer.__init__)
        *usual, rest = signature.parameters.values()
        own = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None)
            for name in ('llm', 'weights', 'dtype', 'quantization')
        ]
        __new__.__signature__ = signature.replace(
            parameters=[*usual, *own, rest])
        inferencer.__new__ = __new__


class StrictCheckpoints(Patch):
    """Load a model of ours strictly, from every kind of file we read."""

    modules = ('mmengine.runner.checkpoint', )
    reason = (
        'mmengine passes over missing tensors and wrong shapes with a line '
        'in the log, and knows no weights in several files. Models of this '
        'package are loaded by `checkpoints` instead, through mmengine\'s '
        'own list of loaders and, as it has no hook for the second half, '
        'one replaced function.')
    until = 'mmengine loads strictly where a model asks for it.'

    def late(self, module: ModuleType) -> None:
        from .checkpoints import download

        @module.CheckpointLoader.register_scheme(
            prefixes=[
                re.escape(download.OPENMMLAB), r'https?://.*\.safetensors$',
                r'.*\.safetensors$', r'.*\{.*,.*\}', 'asset://'
            ],
            force=True)
        def load_from_minigpt4(filename, map_location=None):
            from .checkpoints.loading import merge_files
            tensors, report = merge_files(download.locate(filename))
            return dict(state_dict=tensors, report=report)

        load_to_model = module._load_checkpoint_to_model

        def load_strictly(model, checkpoint, *args, **kwargs):
            from . import zoo
            if not zoo.is_own_model(model):
                return load_to_model(model, checkpoint, *args, **kwargs)
            from .checkpoints.conversion import to_native
            from .checkpoints.loading import load_state
            # What its own config loaded when it was built need not be here.
            loaded = getattr(model, 'load_report', None) is not None
            tensors = checkpoint.get('state_dict', checkpoint)
            report = load_state(
                model,
                to_native(tensors),
                checkpoint.get('report'),
                allow_missing=('', ) if loaded else ('head.llm.', ))
            checkpoint['report'] = report
            return checkpoint

        module._load_checkpoint_to_model = load_strictly
        runner = sys.modules.get('mmengine.runner.runner')
        if getattr(runner, '_load_checkpoint_to_model', None) is load_to_model:
            runner._load_checkpoint_to_model = load_strictly


class ListElements(Patch):
    """Let an option replace an element of a list of plain values."""

    modules = ('mmengine.config.config', )
    reason = (
        '`--cfg-options model.checkpoints.1=FILE` ends in an AttributeError: '
        'mmengine merges an option into an element of a list, and only a '
        'dict can be merged into. Any other is replaced.')
    until = 'mmengine replaces elements that are no dicts.'

    def late(self, module: ModuleType) -> None:
        merge = module.Config._merge_a_into_b

        @functools.wraps(merge)
        def merge_or_replace(a, b, allow_list_keys=False):
            if not isinstance(a, dict) or not isinstance(b, (dict, list)):
                return a
            return merge(a, b, allow_list_keys)

        module.Config._merge_a_into_b = staticmethod(merge_or_replace)


PATCHES: tuple[Patch, ...] = (
    TorchvisionSchemas(),
    NoToolboxMultimodalModels(),
    OwnModels(),
    OwnInferencers(),
    StrictCheckpoints(),
    ListElements(),
)


class PatchFinder:
    """Finds the modules that have patches, as the finders after it do."""

    def __init__(self, patches: tuple[Patch, ...]) -> None:
        self.patches: dict[str, list[Patch]] = {}
        for patch in patches:
            for name in patch.modules:
                self.patches.setdefault(name, []).append(patch)

    def find_spec(self, name: str, path=None, target=None):
        """Give the module's usual spec, with the patches in its loader."""
        patches = self.patches.get(name)
        if patches is None:
            return None
        spec = None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, 'find_spec'):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    break
        if spec is None or not hasattr(spec.loader, 'exec_module'):
            return spec
        # On the loader object alone: it stays what tracebacks, `inspect`
        # and importlib.resources expect it to be.
        spec.loader.exec_module = _wrap(spec.loader.exec_module, patches)
        return spec


def _wrap(run: Callable, patches: list[Patch]) -> Callable:

    def exec_module(module: ModuleType) -> None:
        with ExitStack() as stack:
            for patch in patches:
                stack.enter_context(contextmanager(patch.around)(module))
            run(module)

    return exec_module


def install() -> None:
    """Put the patches in place, once; imports no other package."""
    if any(isinstance(finder, PatchFinder) for finder in sys.meta_path):
        return
    finder = PatchFinder(PATCHES)
    sys.meta_path.insert(0, finder)
    for name, patches in finder.patches.items():
        module = sys.modules.get(name)
        if module is not None:
            for patch in patches:
                patch.late(module)
