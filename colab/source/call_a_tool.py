# %% [markdown]
# # Call a tool that was recorded
#
# tooltrain's environment answers tool calls out of a file of recorded responses: fast, the same
# every time, and with errors that a policy can learn from. Here it answers 3,877 different requests
# to Booking.com's API that were recorded for ComplexFuncBench (Apache-2.0).

# %%
import pathlib

from tooltrain.env.suites.complexfuncbench import WHEEL

wheel = WHEEL.fetch(pathlib.Path(".cache/wheels"))  # 14 MB, downloaded once and read as data
# !{sys.executable} -m tooltrain.cli.record --source=complexfuncbench --wheel="{wheel}" --workdir=runs/colab 2>/dev/null | tail -3

# %%
from tooltrain.env.environment import open_environment
from tooltrain.types import Call, MalformedCall

world = open_environment("runs/colab/cache/booking.sqlite", max_tokens=160, max_items=2)
print(len(world.tools), "tools, such as", ", ".join(sorted(world.tools)[:6]), "...")

# %% [markdown]
# ## A tool is a name and a JSON schema

# %%
import json

tool = world.tools["Search_Hotel_Destination"]
print(tool.description)
print(json.dumps(tool.parameters, indent=1))

# %% [markdown]
# ## A recorded call
#
# `execute` gives the response; `show` gives what a policy is shown of it: valid JSON within a budget of
# tokens, lists cut to their first elements, what later calls need kept.

# %%
call = Call("Search_Hotel_Destination", {"query": "Rome"})
observation = world.execute(call)
print(observation.kind, "- the response has", len(json.dumps(observation.content)), "characters")
print(world.show(call, observation))

# %% [markdown]
# The key of a request is its arguments made canonical by the schema, so spelling does not matter:

# %%
hotels = world.tools["Search_Hotels"]
print(hotels.canonical({"room_qty": "2", "adults": 1.0, "dest_id": -126693}))
print(hotels.canonical({"dest_id": "-126693", "adults": "1", "room_qty": 2}))

# %% [markdown]
# ## Errors that teach
#
# `execute` never raises. Arguments that break the schema: every fault is named, with what was got
# and what is allowed.


# %%
def ask(call):
    observation = world.execute(call)
    print(f"{observation.kind:18s}", observation.content["error"]["message"])


ask(Call("Search_Hotels", {"dest_id": ["Rome"], "adults": "two", "guests": 2}))

# %% [markdown]
# Valid, but nobody asked it while recording; a tool that does not exist; and text that was no call.

# %%
ask(Call("Search_Hotel_Destination", {"query": "Atlantis"}))
ask(Call("Search_Hotel", {"query": "Rome"}))
ask(MalformedCall("bad_json", "the call is not valid JSON: a comma is missing"))

# %% [markdown]
# The reward reads the *kind* of an observation, never its text; see `reward_terms.ipynb`. Recording
# tools of your own takes ten lines: docs/environment.md.
