"""Every registered loss fits the contract, and losses that break it are caught."""

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import UsageError
from harness.testing import LossCheckError, check_loss
from losses import Loss, create_loss, loss_names, register_loss
from losses.contract import LOSSES
from losses.domain_adversarial import reverse_gradient


@pytest.mark.parametrize("name", loss_names())
def test_registered_losses_conform(name):
    check_loss(name)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("coda", {"heads": 2, "alignment_weight": 0.5}),
        ("coral", {"features": "embedding"}),
        ("distance_of_distance", {"reduction": "mean", "temperature": 0.1}),
        ("domain_adversarial", {"features": "embedding", "hidden_size": 3}),
        ("mmd", {"features": "embedding"}),
        ("neighbour_entropy", {"neighbours": 3}),
        ("proto_nce", {"tau": 0.1}),
        ("self_entropy", {"prototypes": "own"}),
        ("self_entropy", {"prototypes": "other"}),
        ("semantic_enhanced", {"prototypes": "own"}),
        ("soft_centroid_contrast", {"momentum": 0.0}),
        ("uem_instance", {"negatives": "batch"}),
        ("uem_prototype", {"prototypes": "own"}),
    ],
    ids=str,
)
def test_registered_losses_conform_with_other_settings(name, arguments):
    check_loss(name, **arguments)


def test_an_instance_is_checked_and_left_alone():
    loss = create_loss("instance_contrast", tau=0.05)
    check_loss(loss)
    with pytest.raises(UsageError, match="for a class"):
        check_loss(loss, tau=0.1)


class Plain(Loss):
    """Pulls the embeddings to a learned direction.

    Args:
        embedding_size: size of the direction.
    """

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.direction_D = nn.Parameter(torch.ones(embedding_size))

    def forward(self, a, b, step):
        return -((a.z_BD @ self.direction_D).mean() + (b.z_BD @ self.direction_D).mean())


def test_a_loss_of_ones_own_with_parameters_passes():
    check_loss(Plain)


def broken(forward, **members):
    """A class like Plain with another forward."""
    doc = "Broken.\n\nArgs:\n    embedding_size: size of the direction.\n"
    return type("Broken", (Plain,), {"forward": forward, "__doc__": doc, **members})


def through_keys(self, a, b, step):
    plain = Plain.forward(self, a, b, step)
    return plain if a.key_BD is None else plain + (a.key_BD * a.z_BD).sum()


def through_prototypes(self, a, b, step):
    return Plain.forward(self, a, b, step) + sum(c.proto_KD.sum() for c in a.clusterings)


def position(self, a, b, step):
    weight_B = torch.arange(len(a.z_BD), device=a.z_BD.device)
    return Plain.forward(self, a, b, step) + (a.z_BD.mean(1) * weight_B).sum()


def pairwise_square_root(self, a, b, step):
    squared_BB = (a.z_BD[:, None] - a.z_BD[None]).square().sum(2)
    return Plain.forward(self, a, b, step) + squared_BB.sqrt().mean()


def log_of_an_empty_cluster(self, a, b, step):
    counts = [torch.bincount(c.assign_N, minlength=len(c.proto_KD)).min() for c in a.clusterings]
    return Plain.forward(self, a, b, step) + sum(c.log() for c in counts)


def refuses_unequal_batches(self, a, b, step):
    return (a.z_BD - b.z_BD).square().mean() + 0 * self.direction_D.sum()


def needs_a_clustering(self, a, b, step):
    if not a.clusterings:
        raise UsageError("a clustering, please")
    return Plain.forward(self, a, b, step)


def global_draw(self, a, b, step):
    return Plain.forward(self, a, b, step) * torch.rand(())


def numpy_draw(self, a, b, step):
    return Plain.forward(self, a, b, step) * np.random.rand()  # noqa: NPY002


def reads_a_value_back(self, a, b, step):
    return Plain.forward(self, a, b, step) * (2 if a.z_BD.sum() > 0 else 1)


def ignores_the_second_domain(self, a, b, step):
    return -(a.z_BD @ self.direction_D).mean() + 0 * b.z_BD.sum()


def forgets_its_parameter(self, a, b, step):
    return a.z_BD.square().sum() + b.z_BD[:, 0].sum() + a.pooled_BF.sum()


def writes_into_the_bank(self, a, b, step):
    with torch.no_grad():
        a.bank_ND.mul_(0.5)
    return Plain.forward(self, a, b, step)


def no_scalar(self, a, b, step):
    return a.z_BD @ self.direction_D


def double(self, a, b, step):
    return Plain.forward(self, a, b, step).double()


def detached(self, a, b, step):
    return Plain.forward(self, a, b, step).detach()


@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (through_keys, r"lets a gradient into a\.key_BD"),
        (through_prototypes, r"lets a gradient into a\.clusterings\[0\]\.proto_KD"),
        (position, "depends on the order of the images"),
        (pairwise_square_root, r"gradient for a\.z_BD that is not finite"),
        (log_of_an_empty_cluster, "not finite .* with unequal domains with an empty cluster"),
        (needs_a_clustering, "refuses a step with no clustering yet"),
        (global_draw, "global random state of torch"),
        (numpy_draw, "global random state of numpy"),
        (reads_a_value_back, "reads one back to the host"),
        (ignores_the_second_domain, "neither embeddings nor features of domain b"),
        (forgets_its_parameter, "parameter direction_D that receives no gradient"),
        (writes_into_the_bank, r"changes a\.bank_ND in place"),
        (no_scalar, "does not return a float32 scalar"),
        (double, "does not return a float32 scalar"),
        (detached, "without a graph"),
        (
            refuses_unequal_batches,
            "fails with unequal domains .*: RuntimeError: The size of tensor",
        ),
    ],
)
def test_a_broken_loss_is_named_for_what_it_breaks(forward, sentence):
    with pytest.raises(LossCheckError, match=sentence):
        check_loss(broken(forward))


def test_state_shared_by_instances_is_found():
    class Counting(Plain):
        """Counts the steps of all instances.

        Args:
            embedding_size: size of the direction.
        """

        steps = 0

        def forward(self, a, b, step):
            Counting.steps += 1
            return super().forward(a, b, step) * Counting.steps

    with pytest.raises(LossCheckError, match=r"depends on the order|second instance was used"):
        check_loss(Counting)


def test_state_outside_the_state_dict_is_found():
    class Hidden(Plain):
        """Scales by what it saw when its stage began.

        Args:
            embedding_size: size of the direction.
        """

        def begin_stage(self, a, b, bank_a_ND, bank_b_ND):
            self.count = len(a) + 1

        def forward(self, a, b, step):
            return super().forward(a, b, step) * getattr(self, "count", 1)

    with pytest.raises(LossCheckError, match="after its state dict was loaded"):
        check_loss(Hidden)


@pytest.mark.parametrize("doc", ["", "No arguments.", "X.\n\nArgs:\n    size: wrong name.\n"])
def test_a_docstring_that_does_not_fit_the_signature_is_found(doc):
    with pytest.raises(LossCheckError, match=r"signature has \['embedding_size'\]"):
        check_loss(broken(Plain.forward, __doc__=doc))


class CallsInAnAttribute(Plain):
    """Counts its own calls.

    Args:
        embedding_size: size of the direction.
    """

    def __init__(self, embedding_size: int) -> None:
        super().__init__(embedding_size)
        self.calls = 0

    def forward(self, a, b, step):
        self.calls += 1
        return super().forward(a, b, step) * self.calls


class CallsInABuffer(Plain):
    """Counts its own calls in its state dict.

    Args:
        embedding_size: size of the direction.
    """

    def __init__(self, embedding_size: int) -> None:
        super().__init__(embedding_size)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, a, b, step):
        self.calls += 1
        return super().forward(a, b, step) * self.calls


class FirstStepKept(Plain):
    """Scales by what its first step held.

    Args:
        embedding_size: size of the direction.
    """

    def forward(self, a, b, step):
        value = super().forward(a, b, step)
        if not hasattr(self, "first"):
            self.first = value.detach()
        return value * (1 + self.first.square() - value.detach().square())


class ReversalThatGrows(Plain):
    """Its value stays, its gradient grows with the number of calls.

    Args:
        embedding_size: size of the direction.
    """

    calls_so_far = 0

    def forward(self, a, b, step):
        self.calls_so_far += 1
        strength = self.calls_so_far
        value = super().forward(a, b, step)
        return reverse_gradient(value) * strength - value.detach() * (-1 + strength)


@pytest.mark.parametrize("cls", [CallsInAnAttribute, CallsInABuffer, ReversalThatGrows])
def test_a_loss_that_counts_its_own_calls_is_found(cls):
    with pytest.raises(LossCheckError, match="when the same step comes again"):
        check_loss(cls)


def test_a_first_step_kept_outside_the_state_dict_is_found():
    check = r"when the same step comes again|after its state dict was loaded"
    with pytest.raises(LossCheckError, match=check):
        check_loss(FirstStepKept)


def swallows_names(self, embedding_size, **rest):
    Plain.__init__(self, embedding_size)


def swallows_values(self, embedding_size, *rest):
    Plain.__init__(self, embedding_size)


@pytest.mark.parametrize(
    ("init", "shown"), [(swallows_names, r"\*\*rest"), (swallows_values, r"\*rest")]
)
def test_arguments_that_would_be_dropped_are_refused(init, shown):
    doc = "X.\n\nArgs:\n    embedding_size: size of the direction.\n    rest: dropped.\n"
    with pytest.raises(LossCheckError, match=f"swallows unknown arguments in '{shown}'"):
        check_loss(broken(Plain.forward, __init__=init, __doc__=doc))


def records_a_share(self, a, b, step):
    if a.key_BD is None:
        step.record("pull.share", a.z_BD.detach().mean())
    return Plain.forward(self, a, b, step)


def test_a_recorded_name_that_is_not_declared_is_found():
    with pytest.raises(LossCheckError, match=r"'pull\.share' with no momentum encoder"):
        check_loss(broken(records_a_share, recorded=("pull.rate",)))
    check_loss(broken(records_a_share, recorded=("pull.share",)))


def test_a_declared_name_begins_with_that_of_the_loss():
    foreign = broken(records_a_share, recorded=("pull.share",))
    with LOSSES.restored_afterwards():
        register_loss("push")(foreign)
        with pytest.raises(LossCheckError, match=r"'pull\.share' in recorded, .* with 'push\.'"):
            check_loss("push")
    with LOSSES.restored_afterwards():
        register_loss("pull")(foreign)
        check_loss("pull")


def other_threads(self, a, b, step):
    torch.set_num_threads(3)
    return Plain.forward(self, a, b, step)


def deterministic(self, a, b, step):
    torch.use_deterministic_algorithms(True, warn_only=True)
    return Plain.forward(self, a, b, step)


def coarse_products(self, a, b, step):
    torch.set_float32_matmul_precision("medium")
    return Plain.forward(self, a, b, step)


@pytest.fixture
def _settings_put_back():
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(
    ("forward", "setting"),
    [
        (other_threads, "number of threads of torch, .* from 1 to 3"),
        (deterministic, "use of deterministic algorithms"),
        (coarse_products, "float32 matmul precision"),
    ],
)
@pytest.mark.usefixtures("_settings_put_back")
def test_a_changed_setting_of_torch_is_found(forward, setting):
    with pytest.raises(LossCheckError, match=f"changes the {setting}"):
        check_loss(broken(forward))
