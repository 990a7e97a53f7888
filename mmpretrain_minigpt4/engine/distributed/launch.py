# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one model, on GPUs or on CPUs alone."""

import datetime
import os
import subprocess
from collections.abc import Mapping

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.model import MMDistributedDataParallel
from torch import distributed, nn

from ...errors import ConfigError
from ...llm.quantization.methods import plain_tensors
from ..checkpointing.run_state import trained_parameters
from .rendezvous import rendezvous

# What a launcher tells a process: its number, how many there are, its number
# on its machine.
LAUNCHERS = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE',
            'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def check_launcher(launcher: str) -> None:
    """Refuse a launcher that does not match how the process was started.

    Raises:
        ConfigError: If several processes would each train a model of their
            own, or if the launcher left no word of who is who.
    """
    if launcher == 'none':
        size = os.environ.get('WORLD_SIZE', '1')
        if 'RANK' in os.environ and size not in ('', '1'):
            raise ConfigError(
                f'torchrun started {size} processes, but the launcher is '
                '"none": each would train a model of its own. Give '
                '--launcher pytorch.')
        return
    if launcher not in LAUNCHERS:
        raise ConfigError(f'The launcher {launcher!r} is unknown; there are '
                          f'none, {", ".join(LAUNCHERS)}.')
    missing = [x for x in LAUNCHERS[launcher] if x not in os.environ]
    if missing and launcher == 'slurm':
        missing = [x for x in missing if x != 'SLURM_LOCALID']
    if missing:
        how = dict(pytorch='torchrun', slurm='srun', mpi='mpirun')[launcher]
        raise ConfigError(
            f'The launcher is {launcher!r}, but {", ".join(missing)} is not '
            f'set: start the script by {how}, or leave the launcher out.')


def start_gloo(launcher: str, dist_cfg: Mapping | None = None) -> None:
    """Connect the processes of a run on CPUs, which mmengine cannot.

    Args:
        launcher: ``pytorch``, ``slurm`` or ``mpi``.
        dist_cfg: ``env_cfg.dist_cfg``, of which ``timeout`` (seconds) is
            read.
    """
    rank, size, local = (
        os.environ.get(name, '0') for name in LAUNCHERS[launcher])
    os.environ.update(RANK=rank, WORLD_SIZE=size, LOCAL_RANK=local)
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = (
            _first_slurm_node() if launcher == 'slurm' else '127.0.0.1')
    timeout = timeout_of(dist_cfg)
    store, rank, size = rendezvous(timeout)
    distributed.init_process_group(
        'gloo', store=store, rank=rank, world_size=size, timeout=timeout)


def timeout_of(dist_cfg: Mapping | None) -> datetime.timedelta:
    """How long processes wait for each other, half an hour by default."""
    return datetime.timedelta(seconds=(dist_cfg or {}).get('timeout', 1800))


def wrap(model: nn.Module, find_unused_parameters: bool = False,
         check_frozen: bool = True) -> MMDistributedDataParallel:
    """Let a model share its gradients, and nothing of its frozen parts.

    Args:
        model: The model, on its device.
        find_unused_parameters: As of DistributedDataParallel.
        check_frozen: Compare the frozen weights of all processes.

    Raises:
        ConfigError: If the frozen weights differ between processes.
    """
    trained = trained_parameters(model)
    frozen = [
        name for name in model.state_dict() if name not in trained
    ] + [name for name, _ in model.named_buffers()]
    if check_frozen:
        check_same_frozen(model)
    # Every process has read the frozen billions itself.
    MMDistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
        model, frozen)
    device = next(model.parameters()).device
    return MMDistributedDataParallel(
        module=model,
        device_ids=None if device.type == 'cpu' else [device.index],
        broadcast_buffers=False,
        find_unused_parameters=find_unused_parameters)


@torch.no_grad()
def check_same_frozen(model: nn.Module) -> None:
    """Compare the frozen weights of all processes by their sums.

    Raises:
        ConfigError: If they differ.
    """
    device = next(model.parameters()).device
    total = torch.zeros(2, dtype=torch.float64, device=device)
    trained = {id(x) for x in model.parameters() if x.requires_grad}
    for tensor in plain_tensors(model):
        if id(tensor) not in trained:
            total[0] += tensor.sum(dtype=torch.float64)
            total[1] += tensor.to(torch.float32).abs().sum(
                dtype=torch.float64)
    least, most = total.clone(), total
    all_reduce(least, 'min')
    all_reduce(most, 'max')
    if not torch.equal(least, most):
        raise ConfigError(
            f'The frozen weights are not the same in all {get_world_size()} '
            f'processes (seen by process {get_rank()}): give every machine '
            'the same files, and parts with random weights the same seed '
            '(randomness.diff_rank_seed=False).')


def _first_slurm_node() -> str:
    nodes = os.environ.get('SLURM_NODELIST', '')
    done = subprocess.run(['scontrol', 'show', 'hostnames', nodes],
                          capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.split():
        raise ConfigError(
            'The first machine of the SLURM job cannot be told: set '
            'MASTER_ADDR to its name.')
    return done.stdout.split()[0]
