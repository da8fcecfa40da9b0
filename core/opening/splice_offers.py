"""What helps where the splice alone costs much of a behaviour: fewer sites, the errors kept, a lower target.

Each offer has a number measured on some held-out prompts at the moment it is made: the share of the model's logit
difference that is left with every latent kept, m(M_s) / m(M), with the SAEs of some sites only.
"""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.experiment import Experiment

WORTH_A_WARNING = 0.1
"""How far the faithfulness of M_s may be from 1 before something is said."""
PROMPTS = 32
"""How many held-out prompts an offer is measured on, at most."""
MOST_SITES = 6
"""With more sites each is tried alone, and not also left out alone."""


@dataclass(frozen=True, slots=True)
class SpliceOffer:
    """A choice that leaves more of the behaviour: the `flag` that makes it, and the share `kept` with it.

    `sites` are those that stay spliced in, in short; empty if the offer is not about sites.
    """

    flag: str
    kept: float
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SpliceOffers:
    """What the splice as it is keeps of the logit difference, and the offers, the best first.

    Attributes:
        kept: the share with all sites.
        n_prompts: the held-out prompts on which shares were measured.
        offers: with fewer sites, then with the errors kept.
        spliced: the faithfulness of M_s on the search prompts.
    """

    kept: float
    n_prompts: int
    offers: tuple[SpliceOffer, ...]
    spliced: float

    def lines(self, target: float) -> tuple[str, ...]:
        """The offers as sentences, for a search that is to reach the faithfulness `target`."""
        said = [f"{offer.flag} keeps {offer.kept:.2f}" for offer in self.offers]
        found = [
            f"With all SAEs spliced in and every latent kept, {self.kept:.2f} of the logit difference is left (on "
            f"{self.n_prompts} held-out prompts). What would leave more: {'; '.join(said)}."
        ]
        if 0 < self.spliced < 1:
            found.append(f"Or search for {target:g} of what the SAEs leave: --target {target * self.spliced:.3f}.")
        return tuple(found)


def splice_offers(experiment: Experiment) -> SpliceOffers | None:
    """Returns the offers where the splice costs more than `WORTH_A_WARNING` of faithfulness; None where it does not."""
    problem = experiment.problem
    baselines = experiment.test.baselines
    cost = abs(1 - baselines.faithfulness(baselines.spliced.mean_logit_diff))
    if problem.errors != "drop" or cost <= WORTH_A_WARNING:
        return None
    n = min(PROMPTS, len(experiment.test))
    some = Evaluator(problem, "test", experiment.test.prompts[:n], prepared=False)
    plain = float(baselines.plain.logit_diff[:n].double().mean())
    everything = float(baselines.spliced.logit_diff[:n].double().mean()) / plain
    every = frozenset(range(len(problem.sites)))
    choices = {frozenset((one,)) for one in every}
    if len(every) <= MOST_SITES:
        choices |= {every - {one} for one in every}
    choices -= {every, frozenset()}  # both are among them where there is one site alone
    shares = {sites: some.measure_spliced(sites).result().mean_logit_diff / plain for sites in choices}
    offers = []
    for size in sorted({len(sites) for sites in shares}, reverse=True):
        best = max((sites for sites in shares if len(sites) == size), key=lambda sites: (shares[sites], sorted(sites)))
        if shares[best] > everything:
            names = tuple(problem.sites[index].short for index in sorted(best))
            offers.append(SpliceOffer(f"--sites {','.join(names)}", shares[best], names))
    # With its errors an SAE gives back exactly what it was given: M_s is M.
    offers.append(SpliceOffer("--errors keep", 1.0))
    train = experiment.train.baselines
    return SpliceOffers(everything, n, tuple(offers), train.faithfulness(train.spliced.mean_logit_diff))


def offer_lines(experiment: Experiment, target: float) -> tuple[str, ...]:
    """Returns the offers for a search that is to reach `target`, as sentences; none where the splice costs little."""
    found = splice_offers(experiment)
    return () if found is None else found.lines(target)
