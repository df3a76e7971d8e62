# %% [markdown]
# # Edit a trajectory and watch each term of the reward
#
# The graduated reward compares the calls of an episode with the gold calls of its trace: a one-to-one
# matching, then how right each matched call is (*atomic*), and whether calls came after what they need,
# with the right values passed on (*orchestration*). docs/reward.md has the formulas.

# %%
from tooltrain.calls.encoder import encode_calls, encode_gold
from tooltrain.rewards.reward import matched, score_batch
from tooltrain.types import Binding, Call, CallRecord, GoldCall, MalformedCall, ObservationKind

gold = (
    GoldCall("find_city", {"name": "Rome"}),
    GoldCall("find_city", {"name": "Oslo"}),
    GoldCall(
        "search_flights",
        {"from": "c1", "to": "c2", "date": "2026-11-22"},
        (0, 1),
        (Binding("from", 0, ("id",)), Binding("to", 1, ("id",))),
    ),
    GoldCall("seat_map", {"flight": "f7"}, (2,), (Binding("flight", 2, ("flights", 0, "id")),)),
)
OK, FAILED = ObservationKind.OK, ObservationKind.NOT_RECORDED


def said(name, turn, kind=OK, /, **arguments):
    return CallRecord(Call(name, arguments), turn, kind)


# %% [markdown]
# ## The perfect trajectory
#
# The two look-ups are independent: one turn or two, in any order, makes no difference.

# %%
rome, oslo = said("find_city", 0, name="Rome"), said("find_city", 0, name="Oslo")
flights = said("search_flights", 1, OK, **{"from": "c1", "to": "c2", "date": "2026-11-22"})
seats = said("seat_map", 2, flight="f7")
perfect = [rome, oslo, flights, seats]


def terms_of(trajectories):
    reward, terms = score_batch(
        matched, encode_calls(list(trajectories)), encode_gold([gold] * len(trajectories))
    )
    return reward, terms


reward, terms = terms_of([perfect])
for name, value in terms.items():
    print(f"{name:18s} {value[0].round(3)}")
print("reward", reward[0])

# %% [markdown]
# ## Edits

# %%
import dataclasses

edits = {
    "perfect": perfect,
    "look-ups in the other order": [oslo, rome, flights, seats],
    "first call only": [rome],
    "skips the second look-up": [rome, flights, seats],
    "a look-up said twice": [rome, rome, oslo, flights, seats],
    "a wrong value": [
        rome,
        oslo,
        said("search_flights", 1, OK, **{"from": "c1", "to": "c9", "date": "2026-11-22"}),
        seats,
    ],
    "a value of another type": [rome, oslo, flights, said("seat_map", 2, flight=7)],
    "an argument too many": [rome, oslo, flights, said("seat_map", 2, flight="f7", deck="upper")],
    "the search failed": [rome, oslo, dataclasses.replace(flights, kind=FAILED), seats],
    "all in one turn": [dataclasses.replace(call, turn=0) for call in perfect],
    "seats before the search": [
        rome,
        oslo,
        dataclasses.replace(seats, turn=1),
        dataclasses.replace(flights, turn=2),
    ],
    "names only": [
        dataclasses.replace(c, call=Call(c.call.name, {}), kind=FAILED) for c in perfect
    ],
    "one call is not JSON": [
        rome,
        oslo,
        flights,
        CallRecord(MalformedCall("bad_json", "no JSON"), 2, ObservationKind.MALFORMED),
    ],
    "silence": [],
}
reward, terms = terms_of(edits.values())
shown = (
    "atomic",
    "orchestration",
    "name",
    "structure",
    "values",
    "executed",
    "dependencies_met",
    "exact",
)
print(f"{'':28s} reward  " + "  ".join(f"{name[:9]:>9s}" for name in shown))
for i, edit in enumerate(edits):
    print(f"{edit:28s} {reward[i]:6.3f}  " + "  ".join(f"{terms[name][i]:9.3f}" for name in shown))

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

rows = np.arange(len(edits))
plt.figure(figsize=(7, 4.2))
plt.barh(rows, 0.5 * np.asarray(terms["atomic"]), label="half of atomic", color="#4c72b0")
plt.barh(
    rows,
    0.5 * np.asarray(terms["orchestration"]),
    left=0.5 * np.asarray(terms["atomic"]),
    label="half of orchestration",
    color="#dd8452",
)
plt.yticks(rows, list(edits), fontsize=8)
plt.gca().invert_yaxis()
plt.xlabel("reward")
plt.legend(fontsize=8, loc="lower right")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Which call was matched to which gold call
#
# The matching maximises the total; a call that is matched to nothing still counts against atomic.

# %%
for edit in ("a look-up said twice", "skips the second look-up"):
    print(edit, np.asarray(terms["assignment"][list(edits).index(edit)])[: len(gold)].tolist())

# %% [markdown]
# ## What each turn added
#
# GRPO can give credit by turn: what was earned from turn n on is the reward less the reward of what
# stood before it.

# %%
import functools

from tooltrain.rewards.reward import rewards_to_go

wrong_start = [said("find_city", 0, name="Roma"), oslo, flights, seats]
to_go = functools.partial(rewards_to_go, matched, 3)
total, (earned, _) = score_batch(
    to_go, encode_calls([perfect, wrong_start]), encode_gold([gold] * 2)
)
for name, row, whole in zip(("perfect", "wrong first look-up"), np.asarray(earned), total):
    print(f"{name:20s} reward {whole:.3f}; earned from turn 0, 1, 2 on:", np.round(row, 3))

# %% [markdown]
# ## Now yours
#
# Change a call and run the cell again.

# %%
mine = [rome, oslo, flights, said("seat_map", 2, flight="F-7 ")]  # compared as BFCL does
reward, terms = terms_of([mine])
print(reward[0], {name: float(terms[name][0]) for name in ("atomic", "orchestration", "exact")})
