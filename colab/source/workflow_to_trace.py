# %% [markdown]
# # A workflow becomes a trace
#
# Training traces are synthesized from recorded responses. A *workflow* is a graph of tool slots; an
# edge says which field of a response feeds which argument. It is *mined* from recorded samples, *filled*
# from the cache so that every call was recorded and every edge holds, put in words, and checked.

# %%
import pathlib

from tooltrain.env.suites.complexfuncbench import WHEEL

wheel = WHEEL.fetch(pathlib.Path(".cache/wheels"))  # 14 MB, downloaded once and read as data
# !{sys.executable} -m tooltrain.cli.record --source=complexfuncbench --wheel="{wheel}" --workdir=runs/colab 2>/dev/null | tail -1

# %% [markdown]
# ## Mine
#
# An argument whose value stands in an earlier response came from there, most likely. This is found by
# search over the samples of ComplexFuncBench, weighted by how specific a value is.

# %%
import itertools

from tooltrain.env.environment import open_environment
from tooltrain.synthesis.provenance import mine
from tooltrain.synthesis.workflow import mined

world = open_environment("runs/colab/cache/booking.sqlite", max_tokens=160, max_items=2)
samples = list(itertools.islice(world.cache.samples(), 0, None, 6))  # of every domain
links, edges = mine(samples)
for edge in sorted(edges, key=lambda e: -e.count)[:6]:
    print(f"{edge.count:4d}  {edge.source} {'.'.join(edge.path)} -> {edge.target}.{edge.argument}")

# %%
counts = mined(samples, links, max_calls=3)
for workflow, count in counts.most_common(6):
    print(f"{count:4d}  {' > '.join(workflow.slots)}")

# %% [markdown]
# ## Fill
#
# The cache is compiled into integer relations once; then every filling can be counted and drawn
# uniformly. If there is none, that is proved, with the edge to blame.

# %%
from tooltrain.synthesis.compile import Compiled
from tooltrain.synthesis.draws import Filler

wanted = ("Search_Attraction_Location", "Search_Attractions", "Get_Availability")
chain = next(w for w, _ in counts.most_common() if w.slots == wanted)
compiled = Compiled(world.cache, world.projection)
compiled.prepare([chain])
filler = Filler(chain, compiled)
print(" > ".join(chain.slots), "-", filler.distinct_count, "different fillings")

# %%
import numpy as np

from tooltrain.synthesis.drafts import of_filling
from tooltrain.synthesis.philox import key_of

drafts = [of_filling(chain, row, compiled) for row in filler.draw(key_of("colab"), np.arange(3))]
for draft in drafts:
    print(" | ".join(str(dict(call.arguments))[:70] for call in draft.calls))

# %% [markdown]
# ## Gold calls, with where every value comes from
#
# What no binding explains, the user has to say.

# %%
for i, call in enumerate(drafts[0].calls):
    print(f"{i} {call.name}  needs {list(call.depends_on)}")
    bound = {b.argument: b for b in call.bindings}
    for name, value in call.arguments.items():
        source = bound.get(name)
        where = (
            f"call {source.source}, {source.path}, {source.selector}"
            if source
            else "said by the user"
        )
        print(f"    {name} = {str(value)[:40]!r}  <- {where}")

# %% [markdown]
# ## Words
#
# A grammar writes queries without ever naming a tool or an id.

# %%
import random

from tooltrain.synthesis.varied import write_varied

for seed in range(3):
    print("-", write_varied(drafts[0].calls, "booking", random.Random(seed)))

# %% [markdown]
# ## Check
#
# Every gold argument must be derivable: stated in the query, shown in the view of an earlier
# response, or the schema's default. A query that leaves something out is rejected with the reason.

# %%
from tooltrain.synthesis.generate import Settings
from tooltrain.synthesis.stream import TraceWriter

writer = TraceWriter(world, Settings("booking", distractors=2))
rng = random.Random(0)
trace = next(t for t in (writer("colab-0", d, rng) for d in drafts * 20) if not isinstance(t, str))
print("passes: ", trace.query)
print("offered:", ", ".join(trace.tools))
print("rejected:", writer.finish("colab-1", drafts[0], "Find me something nice to do.", rng))

# %%
import json

from tooltrain.data.traces import trace_to_json

print(json.dumps(trace_to_json(trace), indent=1)[:1200], "...")
