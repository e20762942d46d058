"""The initial weights of parity models: F's, interpolated where they have a grid, and biases toward a prior."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from parmtrain import ParityModule, compose
from parmtrain.codes import Heads, Linear, Sum
from parmtrain.config import assemble
from parmtrain.deployed import DeployedModel
from parmtrain.tasks.localization import Localization
from parmtrain.training.initial_weights import init_output_biases, start_from
from parmtrain.training.own_network import own_network

CANVASES = ("task.source.train=60", "task.source.val=12", "task.source.test=20")


@pytest.mark.slow
def test_parity_models_begin_with_the_target_of_the_mean_box(data_root: Path) -> None:
    cfg = compose("task=garment_boxes", f"data.root={data_root}", "k=3", "code=sum", *CANVASES)
    task: Localization = assemble.build(cfg.task)
    mean = task.prior(task.splits().train.labels)
    deployed = DeployedModel(assemble.architecture(cfg.deployed.model, task, task.query_shape))

    def started(cfg: DictConfig) -> ParityModule:
        module = assemble.parity_module(cfg, task, deployed)
        init_output_biases(module.parity_models, module.code, mean, deployed)
        return module

    (model,) = started(cfg).parity_models
    assert torch.allclose(model.classifier.bias, 3 * mean)  # type: ignore[union-attr, arg-type]
    cfg.code = compose("code=concat_heads", "k=3").code
    (model,) = started(cfg).parity_models
    assert torch.allclose(model.classifier.bias, mean.repeat(3))  # type: ignore[union-attr, arg-type]
    cfg.code = compose("code=linear", "k=3").code
    module = started(cfg)
    for j, model in enumerate(module.parity_models):
        expected = Linear(k=3).coefficients[j].sum() * mean
        assert torch.allclose(model.classifier.bias, expected, atol=1e-6)  # type: ignore[union-attr, arg-type]


def test_heads_that_start_from_the_deployed_model_keep_its_bias() -> None:
    deployed = DeployedModel(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))
    model = own_network(deployed, 3, torch.rand(2, 3, 8, 8))
    init_output_biases([model], Heads(Sum(3)), torch.rand(4), deployed)
    theirs = deployed.network[1].bias  # type: ignore[index]
    assert torch.equal(next(iter(reversed(list(model.parameters())))), theirs.repeat(3))


def transformer(size: int) -> Any:
    return VisionTransformer(size, 2, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8, num_classes=10)


def test_position_embeddings_are_interpolated_to_the_grid_of_small_pictures() -> None:
    deployed, small = transformer(8), transformer(4)
    embedding = deployed.encoder.pos_embedding
    down, right = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    embedding.data[0, 0], embedding.data[0, 1:, 0], embedding.data[0, 1:, 1] = 7, down.flatten(), right.flatten()
    assert set(start_from(small, DeployedModel(deployed))) == set(small.state_dict())
    started = small.encoder.pos_embedding[0]
    assert (started[0] == 7).all()
    middle, step = started[1:, 0].mean(), started[3, 0] - started[1, 0]
    assert middle.item() == pytest.approx(1.5)
    assert 1.5 < step < 2.5  # pixels are twice as far apart
    assert torch.allclose(started[1:, 0].view(2, 2).T, started[1:, 1].view(2, 2), atol=1e-5)
    assert start_from(nn.Linear(3, 2), DeployedModel(nn.Linear(4, 2))) == ["bias"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (torch.ones(1, 1, 8), torch.zeros(1, 2, 8)),
        (torch.ones(1, 4, 8), torch.zeros(5, 9, 8)),
        (torch.ones(1, 5, 8), torch.zeros(1, 8, 8)),
    ],
)
def test_other_tensors_are_not_interpolated(theirs: Tensor, ours: Tensor) -> None:
    deployed, model = nn.Module(), nn.Module()
    deployed.pos_embed, model.pos_embed = nn.Parameter(theirs), nn.Parameter(ours)
    assert start_from(model, DeployedModel(deployed)) == []
    assert start_from(nn.Conv1d(9, 1, 3), DeployedModel(nn.Conv1d(4, 1, 3))) == ["bias"]
