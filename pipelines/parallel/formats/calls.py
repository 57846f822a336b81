"""Whether a model uses its parameters by calling the modules that own them, as layer-by-layer updates need."""

from torch import nn

from horovod_gq.updates import used_parameters


class ModuleCalls:
    """Watches the forward passes of `model`, by hooks on its modules.

    A layer-by-layer update waits where a module is called. A model that takes a weight without calling a module that
    owns it would compute with last step's.
    """

    def __init__(self, model: nn.Module) -> None:
        self.complete = True
        """Whether all gradients noted so far were of parameters whose module had been called before."""
        self._ready: set[str] = set()
        self._hooks = []
        names = {parameter: name for name, parameter in model.named_parameters()}
        for module in model.modules():
            used = [names[parameter] for parameter in used_parameters(module)]
            if used:
                hook = module.register_forward_pre_hook(lambda *_, used=used: self._ready.update(used))
                self._hooks.append(hook)

    def begin(self) -> None:
        """Begin a step."""
        self._ready.clear()

    def note_gradient(self, name: str) -> None:
        """Take note that the backward pass has a gradient for the parameter of this name."""
        self.complete = self.complete and name in self._ready

    def remove_hooks(self) -> None:
        """Detach from the modules."""
        for hook in self._hooks:
            hook.remove()
