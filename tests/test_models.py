"""Pretrained weights go in whole, or are refused with what does not fit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from foveate.engine.failure import RecipeError
from foveate.engine.models.library import build_classifier, hash_weights

NAME = "shufflenet_v2_x0_5"


def build(classes, channels, weights="none", seed=0, name=NAME):
    torch.manual_seed(seed)
    return build_classifier(name, classes, channels, str(weights))


@pytest.fixture
def file(tmp_path):
    """A function that saves a model's weights to a file."""

    def save(model, name="w.safetensors"):
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        path = tmp_path / name
        save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
        return path

    return save


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_run_goes_on_from_the_weights_of_another(file, name, channels):
    """Stem and head of the same kind are loaded too: nothing of the new random model is left."""
    trained = build(4, channels, seed=1)
    again = build(4, channels, file(trained, name), seed=2)
    assert hash_weights(again.state_dict()) == hash_weights(trained.state_dict())


def test_a_head_for_other_classes_is_left_out_and_only_that(file):
    trained = build(1000, 3, seed=1)
    state = build(4, 3, file(trained), seed=2).state_dict()
    assert state["fc.weight"].shape[0] == 4
    others = [key for key in state if not key.startswith("fc.")]
    assert all(torch.equal(state[key], trained.state_dict()[key]) for key in others)


def test_colour_weights_on_gray_images_answer_as_on_three_equal_channels(file):
    path = file(build(1000, 3, seed=1))
    gray, colour = build(4, 1, path, seed=2).eval(), build(4, 3, path, seed=2).eval()
    image = torch.rand(2, 1, 64, 64)
    assert gray(image).shape == (2, 4)
    assert torch.allclose(gray(image), colour(image.expand(-1, 3, -1, -1)), atol=1e-5)


def test_weights_of_another_model_are_refused_with_the_first_name(file):
    with pytest.raises(RecipeError, match=r"does not fit the model.*first"):
        build(4, 3, file(build(4, 3)), name="resnet18")


def test_gray_weights_for_colour_images_are_refused(file):
    with pytest.raises(RecipeError, match="another shape"):
        build(4, 3, file(build(4, 1)))


def test_weights_without_a_tensor_of_the_model_are_refused(file, tmp_path):
    state = build(4, 3).state_dict()
    state.pop("conv1.0.weight")
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(RecipeError, match="1 missing"):
        build(4, 3, tmp_path / "cut.safetensors")
