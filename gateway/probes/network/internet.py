"""The line out of the hamlet, layer by layer: `internet:<name>`."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.probes.network.layer import ADDRESS, GATEWAY, LADDER, verdict
from gateway.probes.network.near import gateway_layer, near_layers
from gateway.probes.network.reach import Reach
from gateway.probes.network.way import Way
from gateway.probes.outcome import Fact, Outcome, Reason, State, unknown
from wire.identity import SourceId
from wire.reading import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class InternetProbe:
    """One line: the default one, or one interface's alone."""

    source: SourceId
    every_s: float
    deadline_s: float
    way: Way
    reach: Reach
    rungs: tuple[str, ...] = LADDER

    @property
    def device(self) -> str:
        """The line: two probes at once would measure each other."""
        return f"line:{self.way.name}"

    async def run(self) -> Outcome:
        """Climb the layers; a layer above one that is plainly missing is not asked."""
        budget = self.way.budget
        if budget.used_up:
            return unknown(Reason.DATA_BUDGET, f"{budget.limit_bytes // 1_000_000} MB of this month are spent")
        try:
            return await self._climb()
        finally:
            budget.save()

    async def _climb(self) -> Outcome:
        outlet = self.way.outlet()
        facts: dict[str, Fact] = {"interface": outlet.link.name if outlet else self.way.interface}
        layers = near_layers(outlet, self.way.interface)
        if outlet is None or any(layer.state is not State.OK for layer in layers.values()) or ADDRESS not in layers:
            return verdict(layers, facts=facts)
        gateway, rtt_ms = await gateway_layer(self.way, outlet)
        if gateway is not None:
            layers[GATEWAY] = gateway
        far, figures = await self.reach.layers(self.way)
        more = () if rtt_ms is None else (Quantity("gateway_rtt", "ms", round(rtt_ms, 2)),)
        return verdict(layers | far, figures, facts | {"gateway": outlet.gateway}, more)
