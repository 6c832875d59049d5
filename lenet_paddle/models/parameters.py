"""The learned parameters of a network, by layer. Running statistics are not among them."""

from __future__ import annotations

from paddle import Tensor, nn

_STATISTICS = ("_mean", "_variance")  # of batch normalisation: measured, not learned


def weighted_layers(network: nn.Layer) -> dict[str, nn.Layer]:
    """Return the layers with weights of their own, by their names in `named_sublayers()`.

    They come in the order in which the network was built, which is that of the data.
    """
    named = network.named_sublayers()
    return {name: layer for name, layer in named if learned_parameters(layer)}


def learned_parameters(layer: nn.Layer) -> dict[str, Tensor]:
    """Return a layer's own weights, frozen or not, without those of its sublayers."""
    named = layer.named_parameters(include_sublayers=False)
    return {name: weight for name, weight in named if name not in _STATISTICS}


def count_parameters(network: nn.Layer) -> tuple[int, int]:
    """Return the numbers of trainable and of frozen weights."""
    trained = frozen = 0
    for layer in weighted_layers(network).values():
        for weight in learned_parameters(layer).values():
            if weight.stop_gradient:
                frozen += weight.size
            else:
                trained += weight.size
    return trained, frozen
